"""Padded texts: their points are those of each text alone, or the padding is refused."""

import inspect

import numpy as np
import pytest
import torch
import transformers as hf
from torch import nn

import dimscope as ds
from dimscope.errors import BadSource, DimscopeError
from networks.architectures.reference import worst_row

WORDS, PAD = 60, 0
SIZE = {"num_hidden_layers": 3, "hidden_size": 16, "num_attention_heads": 2}
SMALL = {**SIZE, "intermediate_size": 32, "vocab_size": WORDS, "pad_token_id": PAD}
ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": PAD}
N_TEXTS, LONGEST = 24, 9


def bert():
    config = hf.BertConfig(**SMALL, max_position_embeddings=32)
    return hf.BertModel(config), "encoder.layer"


def roberta():
    config = hf.RobertaConfig(**SMALL, max_position_embeddings=32, bos_token_id=1, eos_token_id=2)
    return hf.RobertaModel(config), "encoder.layer"


def distilbert():
    config = hf.DistilBertConfig(
        n_layers=3, dim=16, n_heads=2, hidden_dim=32, vocab_size=WORDS, pad_token_id=PAD
    )
    return hf.DistilBertModel(config), "transformer.layer"


def gpt2():
    config = hf.GPT2Config(n_layer=3, n_embd=16, n_head=2, vocab_size=WORDS, n_positions=32, **ENDS)
    return hf.GPT2Model(config), "h"


def llama():
    config = hf.LlamaConfig(num_key_value_heads=1, **SMALL)
    return hf.LlamaForCausalLM(config), "model.layers"


def opt():
    config = hf.OPTConfig(
        **SMALL, ffn_dim=32, word_embed_proj_dim=16, max_position_embeddings=32, bos_token_id=1
    )
    return hf.OPTModel(config), "decoder.layers"


def t5():
    config = hf.T5Config(
        d_model=16, d_kv=8, d_ff=32, num_layers=3, num_heads=2, vocab_size=WORDS, pad_token_id=PAD
    )
    return hf.T5EncoderModel(config), "encoder.block"


FAMILIES = {make.__name__: make for make in (bert, roberta, distilbert, gpt2, llama, opt, t5)}
# Left padding shifts the tokens of these, whose positions are absolute, unless they are given.
SHIFTED = {"bert", "distilbert", "gpt2"}

READOUTS = {
    "last": lambda states: states[-1:],
    "first": lambda states: states[:1],
    "mean": lambda states: states.mean(0, keepdim=True),
    "max": lambda states: states.amax(0, keepdim=True),
    "tokens": lambda states: states,
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    """Return the name of a family, its network and the names of its blocks."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network, blocks = FAMILIES[request.param]()
    # weights that are large enough for attention and positions to matter
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(0.3 / parameter.std())
    return request.param, network.eval(), [f"{blocks}.{i}" for i in range(3)]


def texts(equal=False):
    """Return the token ids of texts of unequal (or equal) length."""
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(2, LONGEST + 1, (N_TEXTS,), generator=generator)
    if equal:
        lengths[:] = LONGEST
    return [torch.randint(3, WORDS, (int(n),), generator=generator) for n in lengths]


def alone(network, names, ids):
    """Return block -> the states of a text, run alone and without padding."""
    states = {}
    modules = dict(network.named_modules())

    def keep(name):
        def hook(module, inputs, output):
            states[name] = (output[0] if isinstance(output, tuple) else output)[0].clone()

        return hook

    handles = [modules[name].register_forward_hook(keep(name)) for name in names]
    with torch.no_grad():
        network(input_ids=ids[None])
    for handle in handles:
        handle.remove()
    return states


def padded(parts, side):
    """Return the batch that a tokenizer makes of some texts."""
    longest = max(map(len, parts))
    ids = torch.full((len(parts), longest), PAD)
    mask = torch.zeros(len(parts), longest, dtype=torch.long)
    for i, part in enumerate(parts):
        where = slice(longest - len(part), None) if side == "left" else slice(len(part))
        ids[i, where], mask[i, where] = part, 1
    return {"input_ids": ids, "attention_mask": mask}


def batches(parts, side, size):
    return [padded(parts[i : i + size], side) for i in range(0, len(parts), size)]


def takes_left_padding(name, network):
    """Whether positions are relative, made from the mask, or can be given."""
    return name not in SHIFTED or "position_ids" in inspect.signature(network.forward).parameters


def assert_is_sentence(error):
    assert "padd" in str(error)


def expected(network, names, parts, readout):
    states = [alone(network, names, part) for part in parts]
    return {name: torch.cat([READOUTS[readout](state[name]) for state in states]) for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("side", ["right", "left", "none"])
def test_points_of_padded_texts_are_those_of_each_text_alone(family, side, readout):
    name, network, blocks = family
    parts = texts(equal=side == "none")
    order = torch.randperm(len(parts), generator=torch.Generator().manual_seed(2)).tolist()
    for rows in (range(len(parts)), order):
        chosen = [parts[i] for i in rows]
        right = expected(network, blocks, chosen, readout)
        for size in (1, 5, 16):
            try:
                found = ds.capture(
                    network, batches(chosen, side, size), layers=blocks, readout=readout
                )
            except DimscopeError as error:
                if side == "left" and not takes_left_padding(name, network):
                    assert_is_sentence(error)
                    continue
                raise
            assert not found.failures
            for block in blocks:
                assert found[block].shape == tuple(right[block].shape)
                assert worst_row(found[block], right[block]) <= 1e-4, (size, block)


@pytest.mark.parametrize("readout", ["last", "mean", "tokens"])
def test_a_dict_of_all_texts_is_cut_with_its_mask(readout):
    network, blocks = gpt2()
    network, names = network.eval(), [f"{blocks}.{i}" for i in range(3)]
    parts = texts()
    right = expected(network, names, parts, readout)
    found = ds.capture(network, padded(parts, "right"), layers=names, readout=readout, batch_size=7)
    for name in names:
        assert worst_row(found[name], right[name]) <= 1e-4


def test_left_padding_by_hand_differs_from_the_text_alone():
    """The examination can fail: GPT-2 without positions is far from the text alone."""
    torch.manual_seed(0)
    network, _ = gpt2()
    network.eval()
    with torch.no_grad():
        network.wpe.weight.mul_(10)
        ids = torch.tensor([[5, 6, 7]])
        right = network(ids).last_hidden_state[0, -1]
        batch = padded([ids[0], torch.arange(3, 11)], "left")
        shifted = network(**batch).last_hidden_state[0, -1]
    assert (right - shifted).norm() > 0.1 * right.norm()


class Absolute(nn.Module):
    """A user's causal language model with absolute positions that cannot be given."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, 16), nn.Embedding(32, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)

    def forward(self, input_ids, attention_mask):
        n = input_ids.shape[1]
        states = self.words(input_ids) + self.places(torch.arange(n))
        later = torch.ones(n, n, dtype=torch.bool).triu(1)
        return self.block(states, src_mask=later, src_key_padding_mask=attention_mask == 0)


def test_left_padding_is_refused_where_positions_cannot_be_given():
    torch.manual_seed(0)
    with pytest.raises(BadSource, match="padd"):
        ds.capture(Absolute(), batches(texts(), "left", 5), layers="block", readout="last")


def test_right_padding_is_measured_where_positions_cannot_be_given():
    torch.manual_seed(0)
    network, parts = Absolute().eval(), texts()
    with torch.no_grad():
        states = [network(part[None], torch.ones(1, len(part)))[0, -1:] for part in parts]
    found = ds.capture(network, batches(parts, "right", 5), layers="block", readout="last")
    assert worst_row(found["block"], torch.cat(states)) <= 1e-4


class Encoder(nn.Module):
    """A user's encoder that takes its mask by the name that torch uses."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.embed, self.encoder = nn.Linear(4, 16), nn.TransformerEncoder(layer, 2)

    def forward(self, src, src_key_padding_mask=None):
        return self.encoder(self.embed(src), src_key_padding_mask=src_key_padding_mask)


def sequences():
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(40, LONGEST, 4, generator=generator)
    lengths = torch.randint(2, LONGEST + 1, (40,), generator=generator)
    lengths[0] = LONGEST
    return x, lengths, torch.arange(LONGEST) < lengths[:, None]


def read(states, lengths, readout):
    """Apply a readout to the real steps of each sequence."""
    pairs = zip(states, lengths, strict=True)
    return torch.cat([READOUTS[readout](state[:n]) for state, n in pairs])


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("size", [1, 5, 16])
@pytest.mark.parametrize("readout", READOUTS)
def test_points_of_an_encoder_leave_out_what_its_padding_mask_hides(readout, size):
    torch.manual_seed(0)
    network = Encoder().eval()
    x, lengths, real = sequences()
    states = {"encoder.layers.0": [], "encoder.layers.1": []}
    for row, n in zip(x, lengths, strict=True):
        with torch.no_grad():
            state = network.embed(row[None, :n])
            for name, layer in zip(states, network.encoder.layers, strict=True):
                state = layer(state)
                states[name].append(state[0])
    data = {"src": x, "src_key_padding_mask": ~real}
    found = ds.capture(network, data, layers=[*states, "output"], readout=readout, batch_size=size)
    assert not found.failures
    for name, rows in states.items():
        assert worst_row(found[name], read(rows, lengths, readout)) <= 1e-4, name
    assert worst_row(found["output"], read(rows, lengths, readout)) <= 1e-4


class Steps(nn.Module):
    """A user's recurrent network, which does not know of padding."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(4, 16, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0])


@pytest.mark.parametrize("size", [1, 5, 16])
@pytest.mark.parametrize("readout", READOUTS)
def test_points_of_a_recurrent_network_leave_out_what_the_mask_hides(readout, size):
    torch.manual_seed(0)
    network = Steps().eval()
    x, lengths, real = sequences()
    with torch.no_grad():
        states = [network.rnn(row[None, :n])[0][0] for row, n in zip(x, lengths, strict=True)]
        outputs = [network.head(state) for state in states]
    for order in (torch.arange(40), torch.randperm(40)):
        found = ds.capture(
            network,
            x[order],
            layers=["rnn", "output"],
            readout=readout,
            mask=real[order],
            batch_size=size,
        )
        for name, rows in (("rnn", states), ("output", outputs)):
            right = read([rows[i] for i in order], lengths[order], readout)
            assert worst_row(found[name], right) <= 1e-4, name


def test_padding_without_a_mask_warns():
    network, blocks = gpt2()
    batch = padded(texts(), "right")
    with pytest.warns(UserWarning, match=r"padd|mask"):
        ds.capture(network, {"input_ids": batch["input_ids"]}, layers=f"{blocks}.0", readout="mean")


def test_texts_of_unequal_length_have_all_their_tokens():
    network, blocks = gpt2()
    parts = texts()
    found = ds.capture(network, batches(parts, "right", 5), layers=f"{blocks}.1", readout="tokens")
    assert len(found[f"{blocks}.1"]) == sum(map(len, parts))
    assert np.isfinite(found[f"{blocks}.1"]).all()
