"""Cases of scales, curvature, differences, profiles and comparisons."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

import dimscope as ds
from dimscope import manifolds
from recorded.casebook import case, classes, empty_folder, last_hidden, made_of_one, uneven
from recorded.plain import (
    done_of,
    frame,
    plain,
    profile,
    refusal,
)


@case()
def scale_curves_with_plateau_and_verdict() -> Any:
    clouds = {
        "flat": manifolds.torus(800, 2, seed=32),
        "noisy": manifolds.swiss_roll(800, 2, seed=33) + 0.3 * manifolds.gaussian(800, 3, seed=34),
        "wide": uneven(400, 20, seed=35),
    }
    found: dict[str, Any] = {}
    for name, cloud in clouds.items():
        curve = ds.scale_curve(cloud, seed=1)
        found[name] = {
            "table": frame(curve.to_frame()),
            "plateaus": [plain(curve.plateau(t)) for t in (0.02, 0.1, 0.5)],
            "verdict": curve.verdict,
            "provenance": plain(curve.provenance),
        }
    gride = ds.scale_curve(clouds["flat"], ds.Gride(2, 4), blocks=[1, 3, 9, 200])
    found["gride"] = plain(gride.to_dict())
    found["refused"] = [
        refusal(lambda: ds.scale_curve(clouds["flat"], ds.PCA())),
        refusal(lambda: ds.scale_curve(clouds["flat"], blocks=[0, 1])),
        refusal(lambda: ds.scale_curve(clouds["flat"], blocks=[100])),
    ]
    return found


@case()
def rank_curves_with_plateau_and_verdict() -> Any:
    clouds = {
        "flat": manifolds.torus(700, 3, seed=36),
        "noisy": manifolds.swiss_roll(700, 2, seed=37) + 0.3 * manifolds.gaussian(700, 3, seed=38),
        "many dimensions": manifolds.gaussian(500, 40, seed=39),
    }
    found: dict[str, Any] = {}
    for name, cloud in clouds.items():
        curve = ds.rank_curve(cloud, 128)
        found[name] = plain(curve.to_dict())
        found[name]["ends"] = [plain(curve.plateau(t)) for t in (0.05, 0.3)]
    found["few"] = plain(ds.rank_curve(clouds["flat"][:9]).to_dict())
    neighbors = ds.nearest_neighbors(clouds["flat"], 20)
    found["of neighbours"] = plain(ds.rank_curve(neighbors).to_dict())
    found["refused"] = refusal(lambda: ds.rank_curve(neighbors, 1))
    return found


@case()
def curvature_tests_of_a_sphere_and_a_gaussian() -> Any:
    found: dict[str, Any] = {}
    for name, cloud in (
        ("sphere", manifolds.sphere(200, 2, seed=40)),
        ("gaussian", manifolds.gaussian(200, 3, seed=41)),
    ):
        one = ds.curvature_test(cloud, n=7, seed=2)
        found[name] = {**plain(one), "ratio": one.ratio, "p_value": one.p_value}
    told: list[float] = []
    gride = ds.curvature_test(
        uneven(150, 20), ds.Gride(1, 3), n=3, progress=lambda *step: told.append(done_of(step))
    )
    found["gride"] = [plain(gride), told]
    found["refused"] = [
        refusal(lambda: ds.curvature_test(uneven(150, 20), ds.PCA())),
        refusal(lambda: ds.curvature_test(uneven(150, 20), n=0)),
    ]
    return found


@case()
def surrogates_of_tall_and_wide_clouds() -> Any:
    tall = manifolds.cube(50, 3, seed=42) * [1, 10, 100] + 5
    wide = uneven(20, 60, seed=43)
    found = {
        "tall": ds.surrogate(tall),
        "more": ds.surrogate(tall, 80, seed=4),
        "wide": ds.surrogate(wide, 6, seed=1),
    }
    return {
        "shapes": {name: [list(one.shape), one.dtype.name] for name, one in found.items()},
        "first": {name: plain(one[:3, :5]) for name, one in found.items()},
        "refused": refusal(lambda: ds.surrogate(tall, 0)),
    }


@case()
def differences_between_layers() -> Any:
    cloud = manifolds.cube(400, 5, seed=44)
    layers = {"all": cloud, "some": cloud[:, :3], "bent": cloud**2}
    made = ds.profile(ds.Activations(layers), None, [ds.TwoNN(), ds.Gride(2, 4)])
    found: dict[str, Any] = {}
    for name in made.estimators:
        for a, b in (("all", "some"), ("all", "bent"), ("bent", "all")):
            one = ds.difference(made.of(name)[a], made.of(name)[b])
            found[f"{name} {a} {b}"] = {
                **plain(one),
                "p_value": one.p_value,
                "interval": plain(one.interval),
                "interval_at_0.5": plain(one.interval_at(0.5)),
                "text": str(one),
                "number": float(one),
            }
    with empty_folder():
        made.save("one.json")
        loaded = ds.Profile.load("one.json")
    found["refused"] = [
        refusal(lambda: ds.difference(made["all"], loaded["all"])),
        refusal(lambda: ds.difference(made["all"], ds.estimate(cloud[:90]))),
        refusal(lambda: ds.difference(ds.PCA()(cloud), made["all"])),
        refusal(lambda: ds.difference(made["all"], ds.Estimate(float("nan"), reason="tied"))),
    ]
    return found


@case()
def profiles_of_classes_and_differences_of_their_means() -> Any:
    made = ds.profile(classes(), None, [ds.TwoNN(), ds.PCA(variance=0.95)], by_class=True)
    one = ds.difference(made["input"], made["output"])
    return {
        "profile": profile(made),
        "table": frame(made.to_frame()),
        "difference": {**plain(one), "p_value": one.p_value, "interval": plain(one.interval)},
        "simultaneous": plain(made.simultaneous()),
        "no labels": refusal(
            lambda: ds.profile(ds.Activations({"a": manifolds.cube(20, 2)}), by_class=True)
        ),
    }


@case()
def a_profile_of_activations_with_failed_layers() -> Any:
    made = ds.profile(classes(), None, {"two": ds.TwoNN(), "line": ds.TwoNN(fit="regression")})
    told: list[list[Any]] = []
    again = ds.profile(
        classes(), name="again", engine=ds.Sketched(), progress=lambda *one: told.append(list(one))
    )
    return {
        "profile": profile(made),
        "table": frame(made.to_frame()),
        "simultaneous": [
            plain(made.simultaneous()),
            plain(made.simultaneous(0.5, "line")),
        ],
        "mapping": [list(made), len(made), "lost" in made, str(made["lost"])],
        "unknown layer": refusal(lambda: made["nowhere"]),
        "unknown estimator": refusal(lambda: made.of("nothing")),
        "joined": list(ds.Profile.joined([again])),
        "again": [again.name, [float(one) for one in again.values()][:2]],
        "steps": list(dict.fromkeys(one[0] for one in told)),
    }


@case()
def profiles_joined_saved_and_loaded() -> Any:
    joined = ds.Profile.joined([made_of_one(name) for name in ("output", "b", "input", "a")])
    made = ds.profile(classes(), None, [ds.TwoNN(), ds.MLE(5)], by_class=True, name="saved")
    with empty_folder():
        made.save("one.json")
        text = Path("one.json").read_text(encoding="utf-8")
        loaded = ds.Profile.load("one.json")
        Path("other.json").write_text("{}", encoding="utf-8")
        Path("broken.json").write_text("{", encoding="utf-8")
        later = json.loads(text) | {"schema_version": 9}
        Path("later.json").write_text(json.dumps(later), encoding="utf-8")
        cut = json.loads(text) | {"estimators": ["twonn", "lost"]}
        Path("cut.json").write_text(json.dumps(cut), encoding="utf-8")
        refused = [
            refusal(lambda name=name: ds.Profile.load(f"{name}.json"))
            for name in ("none", "other", "broken", "later", "cut")
        ]
        left = sorted(os.listdir())
    return {
        "joined": list(joined),
        "file": plain(json.loads(text)),
        "layout": [text.count("\n"), text[:40], text.endswith("}\n")],
        "same when loaded": profile(loaded) == profile(made),
        "refused": refused,
        "files": left,
    }


@case()
def a_comparison_of_networks_with_their_scores() -> Any:
    names = "abcdefg"
    several = [
        last_hidden(name, d) for name, d in zip(names, (8, 9.5, 12, 12.5, 16, 15, 21), strict=True)
    ]
    scores = dict(zip(names, (0.93, 0.91, 0.92, 0.85, 0.8, 0.83, 0.7), strict=True))
    found = ds.compare(several, scores)
    three = ds.compare(several[:3], scores)
    same = ds.compare(several[:4], dict.fromkeys(names, 0.5))
    return {
        "compared": [plain(one.to_dict()) for one in (found, three, same)],
        "table": frame(found.to_frame()),
        "texts": [
            str(one) for one in (found.pearson, found.spearman, three.pearson, same.spearman)
        ],
        "spread": [found.pearson.spread, found.spearman.spread],
        "refused": [
            refusal(lambda: ds.compare(several[:2], scores)),
            refusal(lambda: ds.compare([several[0]] * 3, scores)),
            refusal(lambda: ds.compare(several, {"a": 1.0})),
            refusal(lambda: ds.compare([*several, made_of_one("x")], {**scores, "": 1.0})),
            refusal(lambda: ds.compare(several, {**scores, "b": float("nan")})),
        ],
    }


@case()
def what_the_plots_show() -> Any:
    def shown(ax: Any) -> Any:
        return {
            "labels": [ax.get_xlabel(), ax.get_ylabel(), ax.get_title()],
            "lines": [
                plain(np.asarray(line.get_ydata(), dtype=float))
                for line in ax.lines
                if line.get_marker() != "x"  # layers without a dimension, marked since
            ],
            "names": [
                text.get_text()
                for text in (ax.get_legend() or NoLegend()).get_texts()
                if text.get_text() != made.name and "not measured" not in text.get_text()
            ],
        }

    made = ds.profile(classes(), None, ds.Resampled(n=3))
    curve = ds.rank_curve(manifolds.torus(300, 2, seed=47), 16)
    compared = ds.compare(
        [last_hidden(name, d) for name, d in (("a", 4.0), ("b", 6.0), ("c", 5.0), ("d", 9.0))],
        {"a": 0.9, "b": 0.7, "c": 0.8, "d": 0.6},
    )
    return {
        "profile": shown(made.plot()),
        "classes": shown(ds.profile(classes(), by_class=True).plot()),
        "curve": shown(curve.plot()),
        "comparison": shown(compared.plot()),
    }


class NoLegend:
    def get_texts(self) -> list[Any]:
        return []
