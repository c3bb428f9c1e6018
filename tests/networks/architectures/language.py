"""Networks of transformers, in tiny configurations."""

from __future__ import annotations

from torch import nn

from networks.architectures.zoo import FOLDED, add, user_dict

WORDS = 60
ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
SIZE = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
SMALL = {"vocab_size": WORDS, **SIZE, **ENDS}
GROUPED = {"num_key_value_heads": 1, **SMALL}
POSITIONS = {"max_position_embeddings": 32}
IDS = ((9,), WORDS)


def family(name: str, model: str, config: dict, shape: object = None, axes: tuple = ()) -> None:
    """Add a family: the class of its model and the keywords of its configuration."""

    def make() -> nn.Module:
        import transformers as hf

        hf.logging.set_verbosity_error()  # about kernels that are not installed
        cls = getattr(hf, model)
        return cls(cls.config_class(**config))

    shape = shape or {"input_ids": IDS}
    add(f"transformers {name}", make, shape, handed=user_dict, axes=axes)


ALONE: tuple = (("*embeddings.position_embeddings", None), ("*rotary_emb*", None))
"""Position embeddings and angles: the same for every text, in one row."""

family("bert", "BertModel", SMALL | POSITIONS, axes=ALONE)
family("roberta", "RobertaModel", SMALL | POSITIONS)
family("electra", "ElectraModel", SMALL | POSITIONS | {"embedding_size": 8}, axes=ALONE)
DISTIL = {"n_layers": 2, "dim": 16, "n_heads": 2, "hidden_dim": 32, "vocab_size": WORDS}
family("distilbert", "DistilBertModel", DISTIL | POSITIONS, axes=ALONE)
GPT2 = {"n_layer": 2, "n_embd": 16, "n_head": 2, "vocab_size": WORDS, "n_positions": 32, **ENDS}
family("gpt2", "GPT2LMHeadModel", GPT2, axes=(("transformer.wpe", None),))
family("llama", "LlamaForCausalLM", GROUPED, axes=ALONE)
family("mistral", "MistralModel", GROUPED, axes=ALONE)
OPT = {"ffn_dim": 32, "word_embed_proj_dim": 16, **SMALL, **POSITIONS}
# the rows of these modules are tokens, of all texts in turn
TOKEN_ROWS = tuple((f"decoder.layers.*.{name}", FOLDED) for name in ("f*", "activation_fn"))
family("opt", "OPTModel", OPT, axes=TOKEN_ROWS)
family("bloom", "BloomModel", {"n_layer": 2, "n_head": 2, "hidden_size": 16, "vocab_size": WORDS})
family("gpt_neox", "GPTNeoXModel", SMALL | POSITIONS, axes=ALONE)
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "vocab_size": WORDS}
family(
    "t5",
    "T5Model",
    T5,
    {"input_ids": IDS, "decoder_input_ids": ((5,), WORDS)},
    (
        ("*relative_attention_bias", None),
        *((f"*[[]{key}]", 0) for key in ("0", "last_hidden_state", "encoder_last_hidden_state")),
        ("*[[]*", None),  # the bias of attention: the same for every text, in one row
    ),
)
# the experts take the tokens in the order of the choice among them
ROUTED = (("*.mlp.experts.act_fn", None), ("layers.*.mlp.?*", FOLDED))
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2, **GROUPED}
family("mixtral", "MixtralModel", EXPERTS, axes=(*ALONE, *ROUTED))
MAMBA = {"vocab_size": WORDS, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}
family("mamba", "MambaModel", MAMBA)
family(
    "vit", "ViTModel", {"image_size": 32, "patch_size": 8, **SIZE}, {"pixel_values": (3, 32, 32)}
)
WEIGHTS = (("*parametrizations*", None),)
WAVES = {
    "conv_dim": (8, 8),
    "conv_stride": (5, 4),
    "conv_kernel": (10, 8),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
family("wav2vec2", "Wav2Vec2Model", WAVES | SMALL, {"input_values": (400,)}, WEIGHTS)
WHISPER = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "num_mel_bins": 8,
    "max_source_positions": 10,
    "max_target_positions": 12,
    "decoder_start_token_id": 1,
    "begin_suppress_tokens": None,
    "vocab_size": WORDS,
    **ENDS,
}
SPEECH = {"input_features": (8, 20), "decoder_input_ids": ((5,), WORDS)}
family("whisper", "WhisperModel", WHISPER, SPEECH, (("encoder.embed_positions", None),))
PICTURES = {**SIZE, "image_size": 32, "patch_size": 8}
CLIP = {"text_config": SMALL | POSITIONS, "vision_config": PICTURES, "projection_dim": 8}
family(
    "clip",
    "CLIPModel",
    CLIP,
    {"input_ids": IDS, "pixel_values": (3, 32, 32)},
    # the similarities of all images with all texts: a stimulus is no row
    (("output[[]logits_per*", None), ("*embeddings.position_embedding", None)),
)
