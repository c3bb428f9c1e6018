"""Images become the inputs that the weights expect, pixel by pixel as their library makes them."""

import copy
import math
import pickle

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Subset

import dimscope as ds
from dimscope.errors import BadSource
from dimscope.networks.models import load_model
from dimscope.networks.preprocessing import (
    Preprocessing,
    Source,
    image_folder,
    imagenet,
    note_source,
    open_data,
    preprocessing_of,
)


@pytest.fixture(scope="module")
def picture():
    """Noise over waves: every pixel counts, and so does the filter of a resize."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:300, :420]
    waves = 100 * (1 + np.sin(x / 5) * np.cos(y / 7))[..., None] * [1, 0.5, 0.2]
    return Image.fromarray((waves + rng.integers(0, 50, (300, 420, 3))).astype(np.uint8))


@pytest.fixture
def folder(tmp_path, picture):
    for label in ("cat", "dog"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(3):
            turned = picture.rotate(30 * number + (15 if label == "dog" else 0))
            turned.save(tmp_path / "images" / label / f"{number}.png")
    return tmp_path / "images"


class Average(nn.Module):
    def forward(self, x):
        return x.mean([2, 3])


def network_with(source):
    network = Average()
    note_source(network, source)
    return network


def by_hand(picture, resize, crop, mean, std, filter=Image.BILINEAR):
    """Resize, crop and normalise with PIL and NumPy alone."""
    width, height = picture.size
    if width < height:
        size = resize, int(resize * height / width)
    else:
        size = int(resize * width / height), resize
    left, top = round((size[0] - crop) / 2), round((size[1] - crop) / 2)
    pixels = np.asarray(picture.resize(size, filter), np.float64)[
        top : top + crop, left : left + crop
    ]
    return ((pixels / 255 - mean) / std).transpose(2, 0, 1)


IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.mark.parametrize(
    ("spec", "resize", "crop"),
    [
        ("resnet18@IMAGENET1K_V1", 256, 224),
        ("resnet50@IMAGENET1K_V1", 256, 224),
        ("resnet50@IMAGENET1K_V2", 232, 224),
        ("resnet50", 232, 224),
        ("inception_v3", 342, 299),
    ],
)
def test_preprocessing_of_torchvision_is_that_of_the_weights(picture, spec, resize, crop):
    found = preprocessing_of(f"torchvision/{spec}")
    np.testing.assert_allclose(
        found(picture), by_hand(picture, resize, crop, *IMAGENET), rtol=0, atol=1e-5
    )
    assert found.source == "weights"
    assert f"resize {resize}, crop {crop}, bilinear" in str(found)


def test_preprocessing_of_torchvision_equals_its_own_transform(picture):
    from torchvision.models import Swin_V2_T_Weights

    own = Swin_V2_T_Weights.IMAGENET1K_V1.transforms()
    assert torch.equal(preprocessing_of("torchvision/swin_v2_t")(picture), own(picture))
    assert "bicubic" in str(preprocessing_of("torchvision/swin_v2_t"))


@pytest.mark.parametrize(
    "name",
    ["vit_base_patch16_clip_224.openai", "inception_v4.tf_in1k", "tf_efficientnet_b4.ns_jft_in1k"],
)
def test_preprocessing_of_timm_is_that_of_the_weights(picture, name):
    timm = pytest.importorskip("timm")
    config = timm.get_pretrained_cfg(name)
    size = config.input_size[1]
    found = preprocessing_of(f"timm/{name}")
    own = timm.data.create_transform(
        **timm.data.resolve_data_config(pretrained_cfg=config.to_dict()), is_training=False
    )
    assert torch.equal(found(picture), own(picture))
    assert found(picture).shape == (3, size, size)
    assert config.interpolation in str(found)
    # and by hand
    filter = {"bicubic": Image.BICUBIC, "bilinear": Image.BILINEAR}[config.interpolation]
    resize = math.floor(size / config.crop_pct)
    expected = by_hand(picture, resize, size, config.mean, config.std, filter)
    np.testing.assert_allclose(found(picture), expected, rtol=0, atol=1e-5)


def test_preprocessing_of_a_timm_network_follows_its_configuration(picture):
    timm = pytest.importorskip("timm")
    overlay = {"mean": (0.1, 0.2, 0.3), "std": (1, 1, 1), "crop_pct": 1.0}
    network = timm.create_model("test_resnet", pretrained_cfg_overlay=overlay)
    size = network.pretrained_cfg["input_size"][1]
    filter = Image.Resampling[network.pretrained_cfg["interpolation"].upper()]
    expected = by_hand(picture, size, size, [0.1, 0.2, 0.3], [1, 1, 1], filter)
    found = preprocessing_of(network)
    np.testing.assert_allclose(found(picture), expected, rtol=0, atol=1e-5)
    assert found.source == "weights"


@pytest.fixture
def vit(tmp_path):
    """A small image model of transformers in a folder, with its image processor."""
    transformers = pytest.importorskip("transformers")
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        image_size=32, patch_size=8,
    )  # fmt: skip
    transformers.ViTModel(config).save_pretrained(tmp_path / "vit")
    transformers.ViTImageProcessor(
        size={"height": 32, "width": 32}, image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.4]
    ).save_pretrained(tmp_path / "vit")
    return tmp_path / "vit"


def test_preprocessing_of_transformers_is_the_image_processor(picture, vit):
    pixels = np.asarray(picture.resize((32, 32), Image.BILINEAR), np.float64) / 255
    expected = ((pixels - [0.5, 0.4, 0.3]) / [0.2, 0.3, 0.4]).transpose(2, 0, 1)
    network = load_model(f"hf/{vit}")
    for found in (preprocessing_of(f"hf/{vit}"), preprocessing_of(network)):
        # torchvision's antialiasing of 8-bit images rounds as PIL does, to one level
        np.testing.assert_allclose(found(picture), expected, rtol=0, atol=1.1 / 255 / 0.2)
        assert found.source == "weights"
        assert "mean 0.5 0.4 0.3, std 0.2 0.3 0.4" in str(found)


def test_preprocessing_of_a_network_from_transformers_itself(picture, vit):
    transformers = pytest.importorskip("transformers")
    network = transformers.AutoModel.from_pretrained(vit)
    own = transformers.AutoImageProcessor.from_pretrained(vit)
    expected = own(images=picture, return_tensors="pt")["pixel_values"][0]
    assert torch.equal(preprocessing_of(network)(picture), expected)
    (vit / "preprocessor_config.json").unlink()
    found = preprocessing_of(network)
    assert found.source == "default"
    assert "has no image processor" in str(found)


def test_preprocessing_of_transformers_refuses_a_damaged_processor(vit):
    (vit / "preprocessor_config.json").write_text("{")
    with pytest.raises(BadSource, match=r"image processor of hf/.* cannot be loaded"):
        preprocessing_of(f"hf/{vit}")


FILE = """
import numpy, torch
from torch import nn
class Average(nn.Module):
    def forward(self, x):
        return x.mean([2, 3])
def make_model():
    return Average()
"""


@pytest.mark.parametrize("name", ["preprocess", "transform"])
def test_preprocessing_of_a_file_is_the_function_beside_the_network(tmp_path, picture, name):
    (tmp_path / "net.py").write_text(
        FILE
        + f"def {name}(image):\n    array = numpy.array(image.resize((6, 5)))\n"
        + "    return torch.from_numpy(array).permute(2, 0, 1) / 100\n"
    )
    expected = np.asarray(picture.resize((6, 5))).transpose(2, 0, 1) / 100
    for found in (
        preprocessing_of(f"{tmp_path}/net.py:make_model"),
        preprocessing_of(load_model(f"{tmp_path}/net.py:make_model")),
    ):
        np.testing.assert_allclose(found(picture), expected, rtol=1e-6)
        assert str(found) == f"{name} of {tmp_path}/net.py"


def test_preprocessing_falls_back_to_that_of_imagenet_and_tells_why(tmp_path, picture):
    (tmp_path / "net.py").write_text(FILE)
    torch.save(Average().state_dict(), tmp_path / "w.pt")
    expected = by_hand(picture, 256, 224, *IMAGENET)
    for found, why in [
        (preprocessing_of("torchvision/resnet50", "random"), "the weights are random"),
        (preprocessing_of("torchvision/resnet50", "w.pt"), "the weights file w.pt names no other"),
        (preprocessing_of(load_model("torchvision/squeezenet1_1", "random")), "are random"),
        (preprocessing_of(f"{tmp_path}/net.py:make_model"), "net.py:make_model names no other"),
        (preprocessing_of(nn.Linear(2, 2)), "the weights of this network name no other"),
    ]:
        assert why in str(found)
        assert found.source == "default"
        np.testing.assert_allclose(found(picture), expected, rtol=0, atol=1e-5)


def test_preprocessing_of_refuses_unknown_names():
    with pytest.raises(BadSource, match=r"no weights 'V9'; its weights are IMAGENET1K_V1, IMAGENE"):
        preprocessing_of("torchvision/resnet50@V9")
    with pytest.raises(BadSource, match=r"no model 'resnet81'. Did you mean"):
        preprocessing_of("torchvision/resnet81")
    with pytest.raises(BadSource, match=r"timm has no model 'resnet81'. Did you mean"):
        preprocessing_of("timm/resnet81")
    with pytest.raises(TypeError, match="belong to a name"):
        preprocessing_of(nn.Linear(2, 2), weights="random")


def test_preprocessing_survives_copies_wrappers_and_pickles(tmp_path):
    network = network_with(Source("torchvision/resnet50"))
    before = network.state_dict()
    for other in (copy.deepcopy(network), nn.DataParallel(network), torch.compile(network)):
        assert "resize 232" in str(preprocessing_of(other))
    assert "resize 232" in str(preprocessing_of(pickle.loads(pickle.dumps(network))))
    assert network.state_dict() == before


def test_resized_keeps_the_ratio_of_resize_and_crop(picture):
    for found, resize in (
        (imagenet(), 73),
        (preprocessing_of("torchvision/resnet18@IMAGENET1K_V1"), 73),
        (preprocessing_of("torchvision/resnet50@IMAGENET1K_V2"), 66),
    ):
        small = found.resized(64)
        expected = by_hand(picture, resize, 64, *IMAGENET)
        np.testing.assert_allclose(small(picture), expected, rtol=0, atol=1e-5)
        assert small.source == "user"
    pytest.importorskip("timm")
    assert preprocessing_of("timm/resnet18.a1_in1k").resized(64)(picture).shape == (3, 64, 64)


def test_resized_refuses_a_fixed_size(vit):
    with pytest.raises(BadSource, match="has a fixed size"):
        preprocessing_of(f"hf/{vit}").resized(64)


def test_a_preprocessing_that_fails_or_returns_no_tensor_is_refused(folder):
    network = Average()
    with pytest.raises(BadSource, match=r"failed on an image: ZeroDivisionError"):
        ds.capture(network, image_folder(folder, preprocessing=lambda image: 1 / 0))
    with pytest.raises(BadSource, match="returned a Image; it must take a PIL image"):
        ds.capture(network, image_folder(folder, preprocessing=lambda image: image))


def test_capture_opens_a_folder_as_the_weights_expect(folder):
    network = network_with(Source("torchvision/resnet50@IMAGENET1K_V2"))
    found = ds.capture(network, folder)
    first = Image.open(folder / "cat" / "0.png")
    np.testing.assert_allclose(
        found["input"][0].reshape(3, 224, 224), by_hand(first, 232, 224, *IMAGENET), atol=1e-5
    )
    assert found.provenance.parameters["preprocessing"].startswith(
        "torchvision ResNet50_Weights.IMAGENET1K_V2: resize 232"
    )
    profile = ds.profile(network, str(folder))
    assert profile.provenance.inputs[0].parameters["preprocessing"].startswith("torchvision")
    assert "preprocessing" not in ds.capture(network, torch.rand(4, 3, 8, 8)).provenance.parameters


def test_capture_refuses_the_default_preprocessing_if_the_weights_need_another(folder):
    needs_other = network_with(Source("torchvision/resnet50@IMAGENET1K_V2"))
    needs_same = network_with(Source("torchvision/resnet50@IMAGENET1K_V1"))
    images = image_folder(folder)
    for data in (images, Subset(images, range(4)), DataLoader(images, 3), open_data(folder)):
        with pytest.raises(BadSource, match=r"resize 256.*but the network needs.*resize 232"):
            ds.capture(needs_other, data)
        assert ds.capture(needs_same, data).n_points >= 4
    # what the user chose is used, and stated
    for chosen in (
        image_folder(folder, 224),
        image_folder(folder, preprocessing=preprocessing_of(needs_other)),
        image_folder(folder, preprocessing=imagenet(source="user")),
    ):
        found = ds.capture(needs_other, chosen)
        assert found.provenance.parameters["preprocessing"] == str(chosen.preprocessing)


@pytest.mark.parametrize(
    ("attribute", "stated"), [("divided by 255", "divided by 255"), (abs, None), (object(), None)]
)
def test_a_data_set_states_its_own_preprocessing(attribute, stated):
    class Noise(torch.utils.data.Dataset):
        preprocessing = attribute

        def __len__(self):
            return 5

        def __getitem__(self, number):
            return torch.full((3, 4, 4), float(number))

    found = ds.capture(Average(), DataLoader(Noise(), 2))
    assert found.provenance.parameters.get("preprocessing") == stated


def test_agrees_with_sees_every_difference():
    plain = imagenet()
    assert plain.agrees_with(preprocessing_of("torchvision/resnet18@IMAGENET1K_V1"))
    assert not plain.agrees_with(plain.resized(225))
    assert not plain.agrees_with(preprocessing_of("torchvision/resnet50@IMAGENET1K_V2"))
    shifted = Preprocessing("shifted", lambda image: plain(image) + 0.01)
    assert not plain.agrees_with(shifted)


def test_open_data_reads_the_array_of_other_files(tmp_path):
    images = np.random.default_rng(0).random((9, 3, 4, 4)).astype(np.float32)
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(9))
    torch.save(torch.from_numpy(images), tmp_path / "a.pt")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"], file["labels"] = images, np.arange(9)
    for name in ("a.npz", "a.pt", "a.h5"):
        np.testing.assert_array_equal(open_data(tmp_path / name), images)
    np.savez(tmp_path / "two.npz", train=images, test=images)
    with pytest.raises(ds.BadSource, match="save one of them alone"):
        open_data(tmp_path / "two.npz")
