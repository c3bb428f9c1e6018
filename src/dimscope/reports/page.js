"use strict";
(() => {
  const contents = JSON.parse(document.getElementById("contents").textContent);
  const networks = contents.networks;
  const shown = networks.map(() => true);
  const redraws = []; // one function for each figure
  const SYMBOLS = ["circle", "square", "diamond", "triangle-down", "triangle-up", "cross", "x"];
  const SHAPES = ["●", "■", "◆", "▼", "▲", "✚", "✖"]; // the same, as text
  const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];

  // -- elements; what comes from the data is only ever text -----------------------------------

  const byId = (id) => document.getElementById(id);
  function el(tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (name === "colour") node.style.setProperty("--colour", value);
      else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
    return node;
  }
  // plotly reads a little markup in the labels of axes
  const plain = (text) =>
    String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const plural = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
  const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);
  function shorten(text, most) {
    const half = Math.floor((most - 1) / 2);
    return text.length <= most ? text : `${text.slice(0, half)}…${text.slice(-half)}`;
  }
  function digits(value) {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    const size = Math.abs(value);
    if (Number.isInteger(value) && size < 1e15) return value.toLocaleString("en");
    if (size >= 1000 && size < 1e6) return Math.round(value).toLocaleString("en");
    if (size >= 1e6 || size < 1e-3) return value.toExponential(2);
    return value.toPrecision(3);
  }
  const range = (low, high) => (low === null || high === null ? null : `${digits(low)} to ${digits(high)}`);

  // -- colours ----------------------------------------------------------------------------------

  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => root.dataset.theme === "dark";
  const themed = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  function colourOf(number) {
    const colour = contents.colours[number % contents.colours.length];
    if (!isDark()) return colour;
    const parts = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
    const share = parts.some((part) => part > 0) ? 0.28 : 0.85; // towards white, to stand out
    return `rgb(${parts.map((part) => Math.round(part + (255 - part) * share)).join(",")})`;
  }
  function setTheme(theme) {
    root.dataset.theme = theme;
    byId("theme").textContent = isDark() ? "Light theme" : "Dark theme";
    for (const node of document.querySelectorAll("[data-number]"))
      node.style.setProperty("--colour", colourOf(Number(node.dataset.number)));
    redraw();
  }
  const redraw = () => redraws.forEach((draw) => draw());
  setTheme(system.matches ? "dark" : "light");
  system.addEventListener("change", () => setTheme(system.matches ? "dark" : "light"));
  byId("theme").addEventListener("click", () => setTheme(isDark() ? "light" : "dark"));
  const swatch = (number) =>
    el("span", { class: "swatch", "data-number": number, colour: colourOf(number), "aria-hidden": "true" }, SHAPES[number % SHAPES.length]);

  // -- files ------------------------------------------------------------------------------------

  function csvOf(columns, rows) {
    const cell = (value) => {
      if (value === null || value === undefined) return "";
      const text = String(value);
      return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
    };
    const lines = [columns, ...rows.map((row) => columns.map((column) => row[column]))];
    return lines.map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
  }
  function download(name, blob) {
    const link = el("a", { href: URL.createObjectURL(blob), download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  // -- tables -----------------------------------------------------------------------------------

  // columns: [heading, value of a row, text of a row (optional)]; the first column names the row
  function table(caption, columns, rows) {
    const body = el("tbody");
    const isNumber = (column) => rows.some((row) => typeof column[1](row) === "number");
    const numeric = columns.map(isNumber);
    const headings = columns.map((column, place) => {
      const button = el("button", { type: "button" }, column[0]);
      const heading = el("th", { scope: "col", class: numeric[place] ? "number" : null }, button);
      button.addEventListener("click", () => {
        const ascending = heading.getAttribute("aria-sort") !== "ascending";
        headings.forEach((other) => other.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", ascending ? "ascending" : "descending");
        fill([...rows].sort((a, b) => (ascending ? 1 : -1) * compared(column[1](a), column[1](b))));
      });
      return heading;
    });
    function compared(a, b) {
      if (a === null || b === null) return (a === null) - (b === null);
      return typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
    }
    function fill(ordered) {
      body.replaceChildren(
        ...ordered.map((row) =>
          el("tr", null, columns.map((column, place) => {
            const text = column[2] ? column[2](row) : column[1](row);
            const shownText = typeof text === "number" ? digits(text) : text === null ? "–" : text;
            const attributes = { class: numeric[place] ? "number" : "text" };
            return place ? el("td", attributes, shownText) : el("th", { ...attributes, scope: "row" }, shownText);
          })),
        ),
      );
    }
    fill(rows);
    return scrolling(caption, el("table", null,
      el("caption", { class: "unseen" }, caption), el("thead", null, el("tr", null, headings)), body));
  }
  const scrolling = (name, inner) =>
    el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": name }, inner);

  // -- what a point says ------------------------------------------------------------------------

  const tip = byId("tip");
  let tipAt = 0; // where the page was scrolled to
  // fact: {title, of, number, pairs: [[name, text]]}
  function showTip(fact, x, y) {
    tip.style.setProperty("--colour", colourOf(fact.number));
    tip.replaceChildren(
      el("strong", null, fact.title),
      el("span", { class: "of" }, fact.of),
      el("dl", null, fact.pairs.map(([name, text]) => [el("dt", null, name), el("dd", null, text)])),
    );
    tip.hidden = false;
    tipAt = scrollY;
    const box = tip.getBoundingClientRect();
    const left = x + 16 + box.width < innerWidth ? x + 16 : Math.max(8, x - 16 - box.width);
    tip.style.left = `${Math.max(8, Math.min(left, innerWidth - box.width - 8))}px`;
    tip.style.top = `${Math.max(8, Math.min(y - box.height / 2, innerHeight - box.height - 8))}px`;
  }
  const hideTip = () => { tip.hidden = true; };
  // A scroll may be reported after the tip was shown where the page has come to.
  window.addEventListener("scroll", () => { if (Math.abs(scrollY - tipAt) > 2) hideTip(); }, { passive: true });

  // -- figures ----------------------------------------------------------------------------------

  const axis = (more) => ({
    gridcolor: themed("grid"), linecolor: themed("line"), zerolinecolor: themed("line"),
    tickcolor: themed("line"), ticks: "outside", ticklen: 4, automargin: true, showspikes: false,
    ...more, title: { text: more.title, standoff: 10, font: { size: 13 } },
  });

  // Make a figure of a section. `build(width)` returns {traces, layout, label}; a trace carries
  // `facts`, one for each of its points.
  function figure(section, options, build) {
    const plot = el("div", { class: "plot", "aria-hidden": "true" });
    const holder = el("div", {
      class: `figure ${options.low ? "low" : ""}`, tabindex: 0, role: "group",
      "aria-roledescription": "figure", id: `${section.id}-figure`,
    }, plot);
    let facts = [], at = -1, isWired = false;
    function draw() {
      const width = holder.clientWidth || 800;
      const { traces, layout, label } = build(width);
      holder.setAttribute("aria-label", `${label}. Use the arrow keys to read its points; the numbers are in the table below.`);
      facts = traces.flatMap((trace, curve) => (trace.facts || []).map((fact, point) => ({ ...fact, curve, point })));
      at = -1;
      const drawn = traces.map(({ facts: _, ...trace }) => ({ hoverinfo: "none", showlegend: false, ...trace }));
      Plotly.react(plot, drawn, {
        height: holder.clientHeight, margin: { l: 52, r: 16, t: 12, b: 44 }, autosize: true,
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest", hoverdistance: 30,
        font: { family: themed("font"), size: 12, color: themed("soft") },
        dragmode: matchMedia("(pointer: fine)").matches ? "zoom" : false, ...layout,
      }, { displayModeBar: false, responsive: true });
      if (isWired) return;
      isWired = true;
      plot.on("plotly_hover", (event) => {
        const hovered = event.points.find((point) => traceFacts(point));
        if (!hovered) return;
        const fact = traceFacts(hovered);
        showTip(fact, event.event.clientX, event.event.clientY);
      });
      plot.on("plotly_unhover", hideTip);
    }
    const traceFacts = (point) =>
      facts.find((fact) => fact.curve === point.curveNumber && fact.point === point.pointNumber);
    holder.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
      if (event.key === "Escape") hideTip();
      if (step === undefined || !facts.length) return;
      event.preventDefault();
      at = Math.max(0, Math.min(facts.length - 1, at + step));
      const fact = facts[at], full = plot._fullLayout, trace = plot._fullData[fact.curve];
      const box = plot.getBoundingClientRect();
      const x = full.xaxis.d2p(trace.x[fact.point]) + full.xaxis._offset + box.left;
      const y = full.yaxis.d2p(trace.y[fact.point]) + full.yaxis._offset + box.top;
      showTip(fact, x, y);
      byId("spoken").textContent =
        `${fact.title}, ${fact.of}: ${fact.pairs.map(([name, text]) => `${name} ${text}`).join("; ")}`;
    });
    holder.addEventListener("blur", hideTip);
    section.append(holder);
    redraws.push(draw);
    draw();
    let width = holder.clientWidth;
    new ResizeObserver(() => {
      if (holder.clientWidth !== width) { width = holder.clientWidth; draw(); }
    }).observe(holder);
    return { draw, plot };
  }

  function section(id, heading, about, short = heading) {
    const controls = el("div", { class: "controls" });
    const node = el("section", { id, "aria-labelledby": `${id}-heading` },
      el("div", { class: "head" }, el("h2", { id: `${id}-heading` }, heading), controls),
      about ? el("p", { class: "about" }, about) : null);
    byId("main").append(node);
    byId("sections").append(el("a", { href: `#${id}` }, short));
    node.controls = controls;
    return node;
  }
  function select(node, name, options, changed) {
    const choice = el("select", { onchange: () => changed(choice.value) },
      options.map(([value, text]) => el("option", { value }, text)));
    node.controls.append(el("label", { class: "control" }, name, choice));
    return choice;
  }
  // Buttons for the files of a figure, and its numbers as a table.
  function below(node, drawn, name, csv, makeTable) {
    node.append(el("div", { class: "actions" },
      el("button", { type: "button", onclick: () => {
        const [columns, rows] = csv();
        download(`${name}.csv`, new Blob([csvOf(columns, rows)], { type: "text/csv" }));
      } }, "Download numbers (CSV)"),
      el("button", { type: "button", class: "quiet", onclick: () =>
        Plotly.downloadImage(drawn.plot, { format: "svg", filename: name, width: 960, height: 480 }),
      }, "Download picture (SVG)")));
    const details = el("details", null, el("summary", null, "Show the numbers as a table"));
    const fill = () => { // made when it is opened, then kept current
      details.querySelector(".scroll")?.remove();
      if (details.open) details.append(makeTable());
    };
    details.addEventListener("toggle", fill);
    node.append(details);
    return fill;
  }
  const line = (number) => ({ color: colourOf(number), width: 2, dash: DASHES[Math.floor(number / contents.colours.length) % DASHES.length] });
  const bars = (number, above, under) => ({
    type: "data", symmetric: false, array: above, arrayminus: under, thickness: 1.3, width: 3, color: colourOf(number),
  });

  // -- head: the networks, which are also the legend -------------------------------------------

  const main = (network) => network.estimators[0];
  const rowsOf = (network, estimator) => network.rows.filter((row) => row.estimator === estimator);
  byId("title").textContent = contents.title;
  byId("made").textContent = `dimscope ${contents.version}`;
  const sizes = networks.map((network) => network.n_points);
  const size = Math.min(...sizes) === Math.max(...sizes) ? plural(sizes[0], "point") : `${digits(Math.min(...sizes))} to ${plural(Math.max(...sizes), "point")}`;
  byId("lead").textContent =
    `${plural(networks.reduce((sum, network) => sum + network.layers.length, 0), "layer")}, measured on ${size}. How they were measured is at the end.`;
  function card(network, number) {
    const measured = rowsOf(network, main(network)).filter((row) => row.dimension !== null);
    const top = measured.reduce((best, row) => (!best || row.dimension > best.dimension ? row : best), null);
    const last = measured.find((row) => row.role === "last_hidden");
    const n = network.findings.filter((finding) => finding.verdict === "found" && finding.advice).length;
    const box = el("input", { type: "checkbox", checked: true, "aria-label": `show ${network.name}`, onchange: () => {
      shown[number] = box.checked;
      node.classList.toggle("off", !box.checked);
      redraw();
    } });
    const pair = (name, text, where) => el("div", null, el("dt", null, name), el("dd", null, text), where && el("dd", { class: "where" }, where));
    const entry = (name, row) => row && pair(name, row.text, `at ${row.layer}`);
    const node = el(networks.length > 1 ? "label" : "div", { class: "network", "data-number": number, colour: colourOf(number) },
      el("span", { class: "name" }, networks.length > 1 ? box : null, network.name),
      el("dl", null, entry("highest", top), entry("last hidden", last),
        pair(network.classes ? "classes" : "points", network.classes || digits(network.n_points)),
        pair("to look at", n ? plural(n, "finding") : "nothing")));
    return node;
  }
  byId("networks").classList.toggle("single", networks.length === 1);
  byId("networks").append(
    el("legend", networks.length > 1 ? null : { class: "unseen" }, networks.length > 1 ? "Networks in the figures" : "Network"),
    ...networks.map(card));

  // -- profile ----------------------------------------------------------------------------------

  const layersOf = (network) => JSON.stringify(network.layers.map((layer) => layer.name));
  const sameLayers = networks.every((network) => layersOf(network) === layersOf(networks[0]));
  const LABELS = { distance: "distance (median r1)", hubness: "hubness", n_features: "features (ED)",
    effective_rank: "effective rank", participation_ratio: "participation ratio" };
  const label = (name) => LABELS[name] || name;
  const unique = (names) => [...new Set(names)];
  const estimators = unique(networks.flatMap((network) => network.estimators));
  const measures = unique(networks.flatMap((network) => network.rows.map((row) => row.estimator)));
  const companions = measures.filter((name) => !estimators.includes(name));
  const quantities = [
    ...estimators.map((name) => [name, estimators.length > 1 ? `dimension (${name})` : "intrinsic dimension"]),
    ...companions.map((name) => [name, label(name)]),
    ...["distance", "hubness", "n_features"].map((name) => [name, label(name)]),
  ].filter(([name]) => measures.includes(name) || networks.some((network) => network.rows.some((row) => row[name] !== null)));

  function factOf(network, number, row) {
    const others = network.rows.filter((other) => other.layer === row.layer && other.estimator !== row.estimator);
    const pairs = row.dimension === null
      ? [["not measured", row.reason || "no dimension"]]
      : [["dimension (ID)", row.text], ["95 % interval", range(row.lower, row.upper)]];
    pairs.push(["features (ED)", digits(row.n_features)]);
    if (row.class_std !== undefined && row.class_std !== null) pairs.push(["std over classes", digits(row.class_std)]);
    if (row.distance !== null) pairs.push(["median r1", digits(row.distance)]);
    for (const other of others) pairs.push([label(other.estimator), other.text]);
    if (row.hubness !== null) pairs.push(["hubness", digits(row.hubness)]);
    pairs.push(["points", digits(row.n_points)], ["depth", digits(row.depth)]);
    if (row.dimension !== null && row.reason) pairs.push(["note", row.reason]);
    return { title: row.layer, of: network.name, number, pairs: pairs.filter((pair) => pair[1] !== null) };
  }

  // Ticks of the layers' names, as many as fit.
  function nameTicks(names, width) {
    const room = Math.max(1, Math.floor((width - 70) / 19));
    const step = Math.ceil(names.length / room);
    const places = names.map((_, place) => place).filter((place) => (names.length - 1 - place) % step === 0);
    return {
      tickmode: "array", tickvals: places, tickangle: names.length * 70 > width ? -50 : 0,
      ticktext: places.map((place) => plain(shorten(names[place], width < 500 ? 12 : 20))),
    };
  }

  {
    const node = section("profile", "Profile", "Bars are 95 % intervals. An open marker is a lower bound: above 20, an estimate from neighbours is too low.");
    let quantity = quantities[0][0], across = sameLayers ? "layers" : "depth", fill = () => {};
    const changed = () => { drawn.draw(); };
    if (quantities.length > 1) select(node, "Show", quantities, (value) => { quantity = value; changed(); });
    if (sameLayers) select(node, "Along", [["layers", "layers"], ["depth", "relative depth"]], (value) => { across = value; changed(); });
    const isEstimator = () => estimators.includes(quantity);
    const drawn = figure(node, {}, (width) => {
      const isMeasured = measures.includes(quantity);
      const isLog = !isMeasured && quantity !== "hubness";
      const traces = [];
      let highest = 0;
      const visible = networks.map((_, number) => number).filter((number) => shown[number]);
      visible.forEach((number, place) => {
        const network = networks[number];
        const rows = rowsOf(network, isMeasured ? quantity : main(network));
        const value = (row) => (isMeasured ? row.dimension : row[quantity]);
        const dodge = across === "layers" ? (place - (visible.length - 1) / 2) * 0.09 : 0;
        const x = (row) => dodge + (across === "depth" ? row.relative_depth : network.layers.findIndex((layer) => layer.name === row.layer));
        const main_rows = rowsOf(network, main(network));
        const fact = (row) => factOf(network, number, isEstimator() ? row : main_rows.find((other) => other.layer === row.layer) || row);
        const half = (row, bound) => (isMeasured && row[bound] !== null ? Math.abs(row[bound] - row.dimension) : 0);
        highest = Math.max(highest, ...rows.map((row) => (isMeasured ? row.upper ?? row.dimension : 0) || 0));
        traces.push({
          type: "scatter", mode: "lines+markers", name: plain(network.name), x: rows.map(x), y: rows.map(value), facts: rows.map(fact),
          line: line(number), error_y: isMeasured ? bars(number, rows.map((row) => half(row, "upper")), rows.map((row) => half(row, "lower"))) : {},
          marker: { size: visible.length > 2 ? 7 : 8, color: colourOf(number), line: { width: 1.5, color: colourOf(number) },
            symbol: rows.map((row) => SYMBOLS[number % SYMBOLS.length] + (isEstimator() && row.is_lower_bound ? "-open" : "")) },
        });
        const missing = rows.filter((row) => value(row) === null);
        if (missing.length && !isLog) traces.push({
          type: "scatter", mode: "markers", name: `${plain(network.name)}, not measured`, x: missing.map(x), y: missing.map(() => 0),
          facts: missing.map(fact), cliponaxis: false, marker: { symbol: "x-thin", size: 9, line: { width: 2, color: colourOf(number) } },
        });
      });
      const title = (quantities.find(([name]) => name === quantity) || ["", ""])[1];
      const bound = contents.lower_bound_above;
      const shades = isEstimator() && visible.some((number) => rowsOf(networks[number], quantity).some((row) => row.is_lower_bound));
      const names = networks[0].layers.map((layer) => layer.name);
      return {
        traces,
        label: `${capital(title)} of ${visible.map((number) => networks[number].name).join(", ")}`,
        layout: {
          xaxis: axis(across === "layers"
            ? { title: "layer", range: [-0.6, names.length - 0.4], showgrid: false, zeroline: false, ...nameTicks(names, width) }
            : { title: "relative depth", range: [-0.03, 1.03], zeroline: false }),
          yaxis: axis({ title, type: isLog ? "log" : "linear", rangemode: "tozero", ...(isLog ? { exponentformat: "power", dtick: 1 } : {}) }),
          shapes: shades ? [{ type: "rect", layer: "below", xref: "paper", x0: 0, x1: 1, y0: bound, y1: highest * 1.08, fillcolor: themed("shade"), line: { width: 0 } }] : [],
          annotations: shades ? [{ xref: "paper", x: 1, y: highest * 1.08, xanchor: "right", yanchor: "top", showarrow: false, text: "lower bounds", font: { size: 11, color: themed("soft") } }] : [],
        },
      };
    });
    if (networks.length > 1)
      node.insertBefore(el("ul", { class: "key" }, networks.map((network, number) => el("li", null, swatch(number), network.name))), node.querySelector(".figure"));
    const all = () => networks.flatMap((network) => network.rows.map((row) => ({ network: network.name, ...row })));
    const columns = () => ["network", ...unique(networks.flatMap((network) => Object.keys(network.rows[0] || {}))).filter((name) => name !== "text")];
    const number = (name) => (row) => row[name];
    fill = below(node, drawn, "profile", () => [columns(), all()], () => table("Profile: the dimension of every layer", [
      ["layer", number("layer")], ...(networks.length > 1 ? [["network", number("network")]] : []),
      ...(measures.length > 1 ? [["estimator", (row) => label(row.estimator)]] : []),
      ["depth", number("depth")], ["features (ED)", number("n_features")],
      ["dimension (ID)", number("dimension"), (row) => (row.dimension === null ? "–" : row.text)],
      ["lower", number("lower")], ["upper", number("upper")], ["median r1", number("distance")], ["hubness", number("hubness")],
      ["points", number("n_points")], ...(all().some((row) => row.reason) ? [["note", number("reason")]] : []),
    ], all()));
    fill();
    performance.mark("first drawing");
  }

  // The rest waits until the first figure is on the screen.
  requestAnimationFrame(() => setTimeout(() => {
    differences();
    diagnoses();
    curves();
    spectra();
    provenance();
    performance.mark("last drawing");
    root.dataset.ready = "true";
  }));

  // -- differences between layers ---------------------------------------------------------------

  function differences() {
    const node = section("differences", "Differences between layers", null, "Differences");
    const able = networks.map((_, number) => number).filter((number) => networks[number].differences.rows.length);
    if (!able.length) {
      node.append(el("p", { class: "note" }, `Differences with joint errors are not available: ${unique(networks.map((network) => network.differences.reason)).join("; ")}.`));
      return;
    }
    let chosen = able[0];
    node.append(el("p", { class: "about" }, "Each layer minus the one before it. The 95 % intervals hold for all differences of a network at once; a filled marker differs from zero (adjusted p < 0.05)."));
    const rows = () => networks[chosen].differences.rows;
    if (able.length > 1) select(node, "Network", able.map((number) => [number, networks[number].name]), (value) => { chosen = Number(value); drawn.draw(); fill(); });
    const step = (row) => `${row.other} minus ${row.layer}`;
    const drawn = figure(node, { low: true }, (width) => ({
      label: `Differences between the layers of ${networks[chosen].name}`,
      traces: [{
        type: "scatter", mode: "markers", x: rows().map((_, place) => place), y: rows().map((row) => row.difference),
        error_y: bars(chosen, rows().map((row) => row.upper - row.difference), rows().map((row) => row.difference - row.lower)),
        marker: { size: 9, color: colourOf(chosen), line: { width: 1.5, color: colourOf(chosen) }, symbol: rows().map((row) => (row.p_adjusted < 0.05 ? "circle" : "circle-open")) },
        facts: rows().map((row) => ({ title: step(row), of: networks[chosen].name, number: chosen, pairs: row.equal_to_rounding ? [["difference", "equal to rounding"]] : [
          ["difference", row.text],
          ["interval", range(row.lower, row.upper)], ["p, adjusted", digits(row.p_adjusted)]] })),
      }],
      layout: {
        xaxis: axis({ title: "layer, compared with the one before it", range: [-0.6, rows().length - 0.4], showgrid: false, zeroline: false, ...nameTicks(rows().map((row) => row.other), width) }),
        yaxis: axis({ title: "difference in dimension", zeroline: true, zerolinecolor: themed("soft") }),
      },
    }));
    const number = (name) => (row) => row[name];
    const names = ["layer", "other", "difference", "std_error", "p_value", "p_adjusted", "lower", "upper", "equal_to_rounding"];
    const fill = below(node, drawn, "differences",
      () => [["network", ...names], able.flatMap((n) => networks[n].differences.rows.map((row) => ({ network: networks[n].name, ...row })))],
      () => table(`Differences between the layers of ${networks[chosen].name}`, [
        ["layer", number("other")], ["minus", number("layer")], ["difference", number("difference")], ["std error", number("std_error")],
        ["lower", number("lower")], ["upper", number("upper")], ["p, adjusted", number("p_adjusted")]], rows()));
  }

  // -- diagnosis --------------------------------------------------------------------------------

  function diagnoses() {
    const node = section("diagnosis", "Diagnosis", "What the profile shows of the network, and of how far its numbers can be trusted.");
    const kinds = unique(networks.flatMap((network) => network.findings.map((finding) => finding.kind)));
    const MARKS = { found: "●", "cannot tell": "?", "not found": "–" };
    const tone = (finding) => (finding.verdict !== "found" ? "faint" : finding.advice ? "act" : "found");
    if (networks.length > 1) {
      node.append(scrolling("Diagnosis of every network", el("table", { class: "matrix" },
        el("caption", { class: "unseen" }, "Diagnosis of every network"),
        el("thead", null, el("tr", null, el("th", { scope: "col" }, el("span", null, "network")), kinds.map((kind) => el("th", { scope: "col" }, el("span", null, kind))))),
        el("tbody", null, networks.map((network) => el("tr", null, el("th", { scope: "row" }, network.name),
          kinds.map((kind) => {
            const finding = network.findings.find((other) => other.kind === kind);
            return el("td", null, finding && el("span", { class: `mark ${tone(finding)}`, title: finding.verdict }, el("span", { "aria-hidden": "true" }, MARKS[finding.verdict]), el("span", { class: "unseen" }, finding.verdict)));
          })))))));
      node.append(el("p", { class: "about" }, "● found, ? cannot be told, – not found."));
    }
    const told = ["found", "cannot tell"].flatMap((verdict) => networks.flatMap((network, number) =>
      network.findings.filter((finding) => finding.verdict === verdict).map((finding) => [finding, number])));
    node.append(el("div", { class: "cards" }, told.map(([finding, number]) =>
      el("article", { class: `card ${finding.verdict === "found" ? "found" : ""} ${tone(finding)}` },
        el("header", null, el("h3", null, capital(finding.kind)), el("span", { class: "verdict" }, finding.verdict)),
        networks.length > 1 ? el("p", { class: "of" }, swatch(number), ` ${networks[number].name}`) : null,
        el("p", null, `${capital(finding.says)}.`),
        finding.advice ? el("p", { class: "advice" }, `${capital(finding.advice)}.`) : null,
        Object.keys(finding.numbers).length ? el("dl", null, Object.entries(finding.numbers).map(([name, value]) =>
          el("div", null, el("dt", null, name), el("dd", null, value.text)))) : null))));
    if (networks.length === 1) {
      const clear = networks[0].findings.filter((finding) => finding.verdict === "not found").map((finding) => finding.kind);
      if (clear.length) node.append(el("p", { class: "clear" }, `Not found: ${clear.join(", ")}.`));
    }
    if (networks.some((network) => network.errors === "independent"))
      node.append(el("p", { class: "clear" }, "Layers are compared as if their estimates were independent, because the influences of the points were not saved; with them, smaller differences can be told."));
  }

  // -- scale curves -----------------------------------------------------------------------------

  // Plain numbers on a logarithmic axis: doubling ranks, or 1, 2 and 5 times powers of ten.
  function ticksOf(values, scale) {
    if (scale === "rank_far") return values;
    const round = [0, 1, 2, 3, 4, 5, 6, 7, 8].flatMap((power) => [1, 2, 5].map((first) => first * 10 ** power));
    return round.filter((tick) => tick >= Math.min(...values) / 1.2 && tick <= Math.max(...values) * 1.2);
  }
  function curves() {
    const KINDS = [["n_points", "number of points", "Fewer points"], ["rank_far", "rank of the farther neighbour", "Farther neighbours"]];
    for (const [scale, title, name] of KINDS) {
      const given = contents.curves.filter((curve) => curve.scale === scale);
      if (!given.length) continue;
      const node = section(`scale-${scale}`, `Scale: ${name.toLowerCase()}`, "Where a curve is level, the dimension does not depend on the scale. Bars are standard deviations over blocks, or one standard error.", name);
      const title_of = (curve) => (networks.length > 1 ? `${networks[curve.network].name}: ${curve.layer}` : curve.layer);
      const drawn = figure(node, { low: true }, () => ({
        label: `Dimension against ${title}`,
        traces: given.map((curve, number) => shown[curve.network] ? {
          type: "scatter", mode: "lines+markers", x: curve.rows.map((row) => row[scale]), y: curve.rows.map((row) => row.dimension), line: line(number),
          marker: { size: 7, color: colourOf(number), symbol: SYMBOLS[number % SYMBOLS.length] },
          error_y: bars(number, ...[1, 2].map(() => curve.rows.map((row) => (row.n_blocks > 1 ? row.std : row.std_error) || 0))),
          facts: curve.rows.map((row) => ({ title: curve.layer, of: networks[curve.network].name, number, pairs: [[title, digits(row[scale])], ["dimension", row.text], ["mean distance", digits(row.distance)], ["blocks", digits(row.n_blocks)]] })),
        } : { type: "scatter", x: [], y: [] }),
        layout: { xaxis: axis({ title, type: "log", tickvals: ticksOf(unique(given.flatMap((curve) => curve.rows.map((row) => row[scale]))), scale) }), yaxis: axis({ title: "intrinsic dimension", rangemode: "tozero" }) },
      }));
      node.insertBefore(el("ul", { class: "verdicts" }, given.map((curve, number) => el("li", null, swatch(number), " ", el("b", null, title_of(curve)), `: ${curve.verdict}`))), node.querySelector(".figure"));
      const rows = given.flatMap((curve) => curve.rows.map((row) => ({ network: networks[curve.network].name, layer: curve.layer, ...row })));
      below(node, drawn, `scale-${scale}`, () => [Object.keys(rows[0]), rows],
        () => table("Dimension at every scale", Object.keys(rows[0]).filter((key) => key !== "network" || networks.length > 1).map((key) => [key.replace(/_/g, " "), (row) => row[key]]), rows));
    }
  }

  // -- spectra ----------------------------------------------------------------------------------

  function spectra() {
    const given = contents.spectra;
    if (!given.length) return;
    const node = section("spectra", "Spectra", "The share of the variance along each principal direction; both axes are logarithmic. At most 200 directions of a layer are drawn.");
    const name_of = (spectrum) => (networks.length > 1 ? `${networks[spectrum.network].name}: ${spectrum.layer}` : spectrum.layer);
    // Eigenvalues that are rounding would flatten all others.
    const shares = given.flatMap((spectrum) => spectrum.rows.map((row) => row.share)).filter((share) => share > 0);
    const sharesRange = () => [Math.log10(Math.max(Math.min(...shares), Math.max(...shares) * 1e-7)) - 0.2, Math.log10(Math.max(...shares)) + 0.2];
    const drawn = figure(node, { low: true }, () => ({
      label: `Spectra of ${given.map(name_of).join(", ")}`,
      traces: given.map((spectrum, number) => shown[spectrum.network] ? {
        type: "scatter", mode: "lines+markers", x: spectrum.rows.map((row) => row.number), y: spectrum.rows.map((row) => row.share), line: line(number), marker: { size: 4, color: colourOf(number) },
        facts: spectrum.rows.map((row) => ({ title: spectrum.layer, of: networks[spectrum.network].name, number, pairs: [["direction", digits(row.number)], ["eigenvalue", digits(row.eigenvalue)], ["share", digits(row.share)], ["first to this", `${(100 * row.cumulative_share).toFixed(1)} %`]] })),
      } : { type: "scatter", x: [], y: [] }),
      layout: { xaxis: axis({ title: "direction", type: "log", dtick: 1 }), yaxis: axis({ title: "share of the variance", type: "log", exponentformat: "power", range: sharesRange() }) },
    }));
    node.insertBefore(el("ul", { class: "verdicts" }, given.map((spectrum, number) => el("li", null, swatch(number), " ", el("b", null, name_of(spectrum)),
      `: effective rank ${digits(spectrum.effective_rank)}, participation ratio ${digits(spectrum.participation_ratio)}, ${plural(spectrum.n_eigenvalues, "eigenvalue")}${spectrum.normalized ? ", of features with unit variance" : ""}`))), node.querySelector(".figure"));
    const rows = given.flatMap((spectrum) => spectrum.rows.map((row) => ({ network: networks[spectrum.network].name, layer: spectrum.layer, ...row })));
    below(node, drawn, "spectra", () => [Object.keys(rows[0]), rows], () => table("Eigenvalues that are drawn", [
      ["layer", (row) => row.layer], ...(networks.length > 1 ? [["network", (row) => row.network]] : []), ["direction", (row) => row.number],
      ["eigenvalue", (row) => row.eigenvalue], ["share", (row) => row.share], ["cumulative share", (row) => row.cumulative_share]], rows));
  }

  // -- provenance -------------------------------------------------------------------------------

  function provenance() {
    const node = section("provenance", "Provenance", null);
    networks.forEach((network, number) => {
      const versions = Object.entries(network.provenance.versions).map(([name, version]) => `${name} ${version}`).join(", ");
      const text = JSON.stringify({ profile: network.provenance, estimate: network.estimate }, null, 1);
      const said = [network.methods, versions && `Versions: ${versions}.`].filter(Boolean).map((line) => el("p", { class: "about" }, line));
      const steps = el("pre", { tabindex: 0, role: "region", "aria-label": `Provenance of ${network.name}` }, text);
      if (networks.length > 1) node.append(el("details", null, el("summary", null, swatch(number), ` How ${network.name} was measured`), said, steps));
      else node.append(...said, el("details", null, el("summary", null, "Every step and parameter"), steps));
    });
  }
})();
