"""A tiny language model with a tokenizer, saved as transformers saves them."""

import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

COLOURS = ("red", "blue", "green", "white", "black", "grey", "brown", "yellow")
NOUNS = ("fox", "house", "river", "stone", "bird", "cloud", "tree", "road", "ship", "star")
SPECIAL = ("[UNK]", "[BOS]", "[PAD]", "[EOS]")
BOS, PAD, EOS = 1, 2, 3
WORDS = (*SPECIAL, *COLOURS, *NOUNS)
LONGEST = 24


def tokenizer(*, ends=False):
    """Return a tokenizer of one token a word, which adds one for the beginning or for both ends."""
    words = {word: number for number, word in enumerate(WORDS)}
    inner = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]" if ends else "[BOS] $A",
        special_tokens=[("[BOS]", BOS), ("[EOS]", EOS)],
    )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="[UNK]", bos_token="[BOS]", pad_token="[PAD]"
    )


def save_model(folder, *, with_tokenizer=True):
    """Save the model, and its tokenizer, to a folder."""
    config = hf.GPT2Config(
        vocab_size=len(WORDS), n_positions=LONGEST, n_embd=16, n_layer=2, n_head=2,
        bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = hf.GPT2LMHeadModel(config)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(0.3 / parameter.std())
    network.save_pretrained(folder)
    if with_tokenizer:
        tokenizer().save_pretrained(folder)


def lines(n, n_words=None, seed=0):
    """Return distinct texts of 2 to 9 words, or of ``n_words``."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    while len(found) < n:
        length = n_words or int(torch.randint(2, 10, (1,), generator=generator))
        numbers = torch.randint(len(SPECIAL), len(WORDS), (length,), generator=generator)
        found[" ".join(WORDS[number] for number in numbers)] = None
    return list(found)
