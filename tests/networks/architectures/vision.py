"""Image networks: the 14 of the paper, and families of timm."""

from __future__ import annotations

from torch import nn

from networks.architectures.zoo import FOLDED, add, fixed

# The 14 networks of the paper, whole but for the number of classes, on the smallest images that
# they accept; the table in the docs takes whole ones. Few stimuli, because a VGG has 120 million
# weights in its first two linear layers.
PAPER = {"alexnet": 63}
PAPER |= {f"vgg{depth}{norm}": 32 for depth in (11, 13, 16, 19) for norm in ("", "_bn")}
PAPER |= {f"resnet{depth}": 64 for depth in (18, 34, 50, 101, 152)}


def paper_network(name: str) -> nn.Module:
    """Build a network of the paper from one cheap draw a layer."""
    import torchvision

    own = nn.Linear.reset_parameters, nn.Conv2d.reset_parameters
    nn.Linear.reset_parameters = nn.Conv2d.reset_parameters = _draw
    try:
        keywords = {"init_weights": False} if name.startswith("vgg") else {}
        return getattr(torchvision.models, name)(num_classes=7, **keywords)
    finally:
        nn.Linear.reset_parameters, nn.Conv2d.reset_parameters = own


def _draw(module: nn.Module) -> None:
    weight, bias = module.weight, module.bias
    nn.init.uniform_(weight, -1, 1)
    weight.data.mul_((6 / weight[0].numel()) ** 0.5)
    if bias is not None:
        nn.init.uniform_(bias, -0.1, 0.1)


for name, side in PAPER.items():
    n = 33 if name == "resnet18" else 9
    add(
        name,
        lambda name=name: paper_network(name),
        (3, side, side),
        form="tensor (n, 3, 224, 224)",
        n=n,
        whole=fixed((3, 224, 224)),
    )


def of_timm(
    name: str, model: str, side: int = 32, axes: tuple = (), n: int = 33, **keywords: object
) -> None:
    """Add a family of timm."""

    def make() -> nn.Module:
        import timm

        return timm.create_model(model, num_classes=7, **keywords)

    add(
        f"timm {name}",
        make,
        (3, side, side),
        axes=axes,
        n=n,
    )


TOKENS = {"img_size": 32, "patch_size": 8}
THREE = {**TOKENS, "depth": 3, "embed_dim": 48, "num_heads": 3}
of_timm("vit", "vit_tiny_patch16_224", **THREE)
of_timm("deit", "deit_tiny_distilled_patch16_224", **THREE)
of_timm("beit", "beit_base_patch16_224", **THREE)
of_timm(
    "swin",
    "swin_tiny_patch4_window7_224",
    axes=(("layers.*.blocks.*.attn*", FOLDED),),
    img_size=32,
    window_size=4,
    embed_dim=16,
    depths=(2, 2),
    num_heads=(2, 4),
)
of_timm("convnext", "convnext_atto", depths=(1, 1, 2, 1), dims=(8, 16, 24, 32))
of_timm("efficientnet", "test_efficientnet")
of_timm("mobilenet", "mobilenetv3_small_050")
of_timm("regnet", "regnetx_002")
of_timm("densenet", "densenet121", growth_rate=8, block_config=(2, 2, 2))
XCIT = {"depth": 2, "cls_attn_layers": 1, "embed_dim": 32, "num_heads": 2}
of_timm(
    "xcit", "xcit_nano_12_p8_224", 32, (("pos_embed.token_projection", None),), img_size=32, **XCIT
)
of_timm("cait", "cait_xxs24_224", **TOKENS, depth=2, embed_dim=32, num_heads=2)
PIT = {"stride": 4, "base_dims": (8, 8, 8), "depth": (1, 1, 1)}
of_timm("pit", "pit_ti_224", **TOKENS, **PIT)
PVT = {"depths": (1, 1, 1, 1), "embed_dims": (8, 16, 24, 32), "num_heads": (1, 2, 2, 4)}
of_timm("pvt", "pvt_v2_b0", **PVT)
MAXVIT = {"embed_dim": (32, 32), "depths": (1, 1)}
WINDOWS = (
    ("*attn.rel_pos*", None),
    *(
        (f"*.{part}.{inner}", FOLDED)
        for part in ("attn_block", "attn_grid")
        for inner in ("attn*",)
    ),
)
of_timm("maxvit", "maxvit_rmlp_pico_rw_256", 64, WINDOWS, n=9, img_size=64, **MAXVIT)
of_timm("nfnet", "test_nfnet")


def mixer(block: str, **keywords: object) -> nn.Module:
    from timm.models import mlp_mixer

    layer = getattr(mlp_mixer, block)
    sizes = {"patch_size": 8, "num_blocks": 3, "embed_dim": 32}
    return mlp_mixer.MlpMixer(7, 32, block_layer=layer, **sizes, **keywords)


def poolformer() -> nn.Module:
    from timm.models import metaformer

    return metaformer.MetaFormer(
        num_classes=7,
        depths=(1, 1, 2, 1),
        dims=(8, 16, 24, 32),
        token_mixers=metaformer.Pooling,
        norm_layers=metaformer.GroupNorm1,
    )


add("timm mixer", lambda: mixer("MixerBlock"), (3, 32, 32))
add("timm resmlp", lambda: mixer("ResBlock", mlp_ratio=4), (3, 32, 32))
add("timm poolformer", poolformer, (3, 32, 32))
