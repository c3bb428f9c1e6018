"""What the parameters of a network's forward take."""

import pytest
import torch
import transformers
from torch import nn

from dimscope.networks.data.signature import Signature, is_padding_mask, is_target, marks_padding


class Steps(nn.Module):
    """Parameters of every use."""

    def forward(self, x, t, labels, *, cond=None, mask=None, scale=2.0, use_cache=None, y=None):
        return x


class Handed(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *args, **kwargs):
        return self.inner(*args, **kwargs)


def uses(network):
    return {parameter.name: parameter.use for parameter in Signature.of(network).parameters}


def test_signature_says_what_each_parameter_takes():
    assert uses(Steps()) == {
        "x": "input", "t": "input", "labels": "target", "cond": "input", "mask": "mask",
        "scale": "option", "use_cache": "option", "y": "target",
    }  # fmt: skip
    signature = Signature.of(Steps())
    assert [parameter.name for parameter in signature.required] == ["x", "t", "labels"]
    assert [parameter.name for parameter in signature.positional] == ["x", "t", "labels"]
    assert signature.mask.name == "mask"
    assert not signature.more
    assert not signature.keywords
    assert signature.called() == "forward(x, t, labels, cond=, mask=, y=)"
    assert "t" in signature
    assert "z" not in signature


@pytest.mark.parametrize(
    ("network", "names", "mask"),
    [
        (nn.Sequential(nn.Linear(2, 2)), ["input"], None),
        (nn.TransformerEncoderLayer(4, 1, 4), ["src"], "src_key_padding_mask"),
        (nn.MultiheadAttention(4, 1), ["query", "key", "value"], "key_padding_mask"),
        (nn.TransformerDecoder(nn.TransformerDecoderLayer(4, 1, 4), 1), ["tgt", "memory"],
         "tgt_key_padding_mask"),
        (nn.LSTM(2, 2), ["input"], None),
        (nn.Bilinear(2, 2, 2), ["input1", "input2"], None),
    ],
)  # fmt: skip
def test_signature_of_networks_of_torch(network, names, mask):
    signature = Signature.of(network)
    assert [parameter.name for parameter in signature.required] == names
    assert (signature.mask and signature.mask.name) == mask


def test_signature_of_language_models():
    bert = transformers.BertModel(transformers.BertConfig(
        vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=4,
    ))  # fmt: skip
    signature = Signature.of(bert)
    assert signature.required == ()
    assert [parameter.name for parameter in signature.positional[:2]] == [
        "input_ids", "attention_mask",
    ]  # fmt: skip
    assert signature["attention_mask"].use == "mask"
    assert signature["token_type_ids"].takes_sequence
    gpt = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=9, n_embd=4, n_layer=1, n_head=1, n_positions=8
    ))  # fmt: skip
    assert uses(gpt)[[*uses(gpt)][1]] == "option"  # the keys and values of earlier calls
    assert uses(gpt)["labels"] == "target"
    assert Signature.of(gpt).mask.name == "attention_mask"


def test_signature_looks_through_a_wrapper_that_hands_arguments_on():
    assert Signature.of(Handed(Handed(nn.Linear(2, 2)))) == Signature.of(nn.Linear(2, 2))


def test_signature_is_unknown_where_arguments_are_handed_to_several_modules():
    class Both(Handed):
        def __init__(self):
            super().__init__(nn.Linear(2, 2))
            self.other = nn.Linear(2, 2)

    assert not Signature.of(Both()).known


class Pair(nn.Module):
    def forward(self, first, second, scale: float = 2.0):
        return first + second * scale


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_signature_of_scripted_and_traced_networks_is_their_schema():
    scripted = torch.jit.script(Pair())
    assert uses(scripted) == {"first": "input", "second": "input", "scale": "option"}
    assert [parameter.name for parameter in Signature.of(scripted).required] == ["first", "second"]
    traced = torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2))
    assert len(Signature.of(traced).required) == 1


def test_signature_of_an_exported_network():
    exported = torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)).module()
    signature = Signature.of(exported)
    assert not signature.known or [p.name for p in signature.required] == ["input"]


def test_signature_knows_parameters_that_take_lists():
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large as detector

    network = detector(weights=None, weights_backbone=None)
    signature = Signature.of(network)
    assert signature.parameters[0].takes_list
    assert signature.parameters[1].use == "target"
    assert not Signature.of(nn.Linear(2, 2)).parameters[0].takes_list


@pytest.mark.parametrize(
    ("name", "padding", "target", "inverted"),
    [
        ("attention_mask", True, False, False),
        ("memory_key_padding_mask", True, False, True),
        ("my_key_padding_mask", True, False, True),
        ("padding_mask", True, False, False),
        ("src_mask", False, False, False),
        ("head_mask", False, False, False),
        ("start_positions", False, True, False),
        ("targets", False, True, False),
        ("y", False, True, False),
        ("positions", False, False, False),
    ],
)
def test_names_of_masks_and_targets(name, padding, target, inverted):
    assert (is_padding_mask(name), is_target(name), marks_padding(name)) == (
        padding, target, inverted,
    )  # fmt: skip
