"""What the settings of a Marian model of Hugging Face's mean here: its sizes and its search.

A key that is absent means Hugging Face's default. A key that would change the output and has no
counterpart here is refused by name, as is one that nobody knows.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiayn.config import LARGEST_PENALTY, DataConfig, DecodeConfig, ModelConfig
from aiayn.errors import UserError, naming
from aiayn.interop.settings import EVERYWHERE, Known, Settings, check_kind, is_number, words

KIND = {"marian": "MarianMTModel"}
"""The model_type, and the class of transformers'."""


DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 58_101,
    "decoder_vocab_size": None,  # as many as vocab_size
    "max_position_embeddings": 1_024,
    "d_model": 1_024,
    "encoder_layers": 12,
    "decoder_layers": 12,
    "encoder_attention_heads": 16,
    "decoder_attention_heads": 16,
    "encoder_ffn_dim": 4_096,
    "decoder_ffn_dim": 4_096,
    "activation_function": "gelu",
    "dropout": 0.1,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "scale_embedding": False,
    "decoder_start_token_id": 58_100,
}
"""Settings that are heeded, with the values that MarianConfig gives where a file has none."""
_IDS = {"pad_token_id": "<pad>", "eos_token_id": "</s>"}
"""Ids of pieces, which vocab.json says as well, and must where these are absent."""

_FIXED: Mapping[str, Any] = {
    "share_encoder_decoder_embeddings": True,
    "tie_word_embeddings": True,
    "is_encoder_decoder": True,
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_encoder_decoder": False,
    "normalize_before": False,
    "normalize_embedding": False,
    "add_final_layer_norm": False,
    "static_position_embeddings": True,
    "pruned_heads": {},
}
"""Settings that have one value here, which is Hugging Face's default as well."""
_HARMLESS = EVERYWHERE | words(
    """init_std encoder_layerdrop decoder_layerdrop classif_dropout classifier_dropout
    add_bias_logits extra_pos_embeddings"""
)
"""Settings that change no output of a MarianMTModel."""
_ALIASES = {
    "hidden_size": "d_model",
    "num_hidden_layers": "encoder_layers",
    "num_attention_heads": "encoder_attention_heads",
}

_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "do_sample": (False,),
    "num_beam_groups": (1,),
    "diversity_penalty": (0,),
    "repetition_penalty": (1,),
    "encoder_repetition_penalty": (1,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "guidance_scale": (1,),
    **dict.fromkeys(
        words("""forced_bos_token_id forced_decoder_ids suppress_tokens begin_suppress_tokens
        sequence_bias exponential_decay_length_penalty constraints force_words_ids penalty_alpha
        dola_layers watermarking_config token_healing stop_strings max_time"""),
        (False, []),
    ),
}
"""Settings of the search that are not heeded, and the values with which they change nothing."""
_SEARCH = words(
    """num_beams length_penalty max_length max_new_tokens bad_words_ids decoder_start_token_id
    pad_token_id eos_token_id forced_eos_token_id"""
)
"""Settings of the search that are heeded."""
_HARMLESS_TO_SEARCH = words(
    """bos_token_id transformers_version _from_model_config use_cache temperature top_k top_p min_p
    top_h typical_p epsilon_cutoff eta_cutoff renormalize_logits remove_invalid_values
    early_stopping num_return_sequences low_memory cache_implementation cache_config max_cache_len
    return_dict_in_generate output_attentions output_hidden_states output_scores output_logits
    disable_compile compile_config is_assistant num_assistant_tokens
    num_assistant_tokens_schedule assistant_confidence_threshold prompt_lookup_num_tokens
    max_matching_ngram_size assistant_early_exit assistant_lookbehind target_lookbehind"""
)
"""Those of sampling, of memory and of speed; `early_stopping` ends a search early, ours does not.
"""
OF_SEARCH = frozenset({*_NEUTRAL, *_SEARCH, *_HARMLESS_TO_SEARCH})
"""All settings of a search of transformers', which config.json held before it had a file."""
_KNOWN = Known(DEFAULTS, _FIXED, frozenset({*_IDS, *_HARMLESS, *OF_SEARCH}), _ALIASES)

_MOST_BEAMS = 1_000
_ACTIVATIONS = {"relu": "relu", "swish": "swish", "silu": "swish"}


def model_config(config: Mapping[str, Any], where: Path) -> ModelConfig:
    """Our settings for a MarianConfig.

    Raises:
        UserError: the model is of another kind than ours; the setting is named.
    """
    check_kind(config, where, KIND)
    settings = Settings(config, where, _KNOWN)
    settings.check_keys()
    layers, heads, inner = (
        _shared(settings, name) for name in ("layers", "attention_heads", "ffn_dim")
    )
    width = settings.whole("d_model")
    if width % heads:
        raise settings.wrong("d_model", f"a multiple of the {heads} heads")
    activation = settings["activation_function"]
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        raise settings.wrong("activation_function", f"one of {', '.join(_ACTIVATIONS)}")
    decoder_words, words = settings["decoder_vocab_size"], settings.whole("vocab_size")
    if decoder_words not in (None, words):
        raise settings.wrong("decoder_vocab_size", f"one table for both sides, {words}")
    values: dict[str, Any] = {
        "num_layers": layers,
        "d_model": width,
        "d_ff": inner,
        "num_heads": heads,
        "d_k": width // heads,
        "d_v": width // heads,
        "dropout_rate": settings.rate("dropout"),
        "attention_dropout_rate": settings.rate("attention_dropout"),
        "relu_dropout_rate": settings.rate("activation_dropout"),
        "activation": _ACTIVATIONS[activation],
        "positions": "huggingface",
        "scale_embedding": settings.flag("scale_embedding"),
        "layer_norm_epsilon": 1e-5,  # PyTorch's default, which Hugging Face leaves
        "logits_bias": True,
    }
    with naming(where):
        return ModelConfig(**values)


def _shared(settings: Settings, name: str) -> int:
    """A number that encoder and decoder have in common."""
    keys = [f"{stack}_{name}" for stack in ("encoder", "decoder")]
    encoder, decoder = (settings.whole(key) for key in keys)
    if encoder != decoder:
        absent = "".join(f" ({settings.said(key)})" for key in keys if key not in settings.given)
        raise UserError(
            f"{settings.where}: the encoder's {name} are {encoder}, the decoder's {decoder}; "
            f"wanted as many.{absent}"
        )
    return encoder


class Search:
    """How a model of Hugging Face's generates, from generation_config.json, else config.json."""

    def __init__(
        self,
        config: Mapping[str, Any],
        generation: Mapping[str, Any] | None,
        vocabulary: Mapping[str, Any],
        where: Path,
    ):
        """Raises UserError for a setting that has no counterpart here, by its name."""
        settings = Settings(config, where / "config.json", _KNOWN)
        self._positions = settings.whole("max_position_embeddings")
        found, path = generation, where / "generation_config.json"
        if found is None:  # as Hugging Face's code had it before there was such a file
            path = where / "config.json"
            found = {k: v for k, v in config.items() if k in _NEUTRAL.keys() | _SEARCH}
        self._found = Settings({k: v for k, v in found.items() if v is not None}, path, _KNOWN)
        self._check_keys()
        self._vocabulary = vocabulary
        for table in (settings, self._found):
            for key, piece in _IDS.items():
                wanted = vocabulary.get(piece)
                if key in table.given and table[key] not in (wanted, [wanted]):
                    raise table.wrong(key, f"{wanted}, as vocab.json numbers {piece}")
        eos = vocabulary.get("</s>")
        if self._found.given.get("forced_eos_token_id", eos) not in (eos, [eos]):
            raise self._found.wrong("forced_eos_token_id", f"{eos}, which ends a sentence")
        chosen = self._found if "decoder_start_token_id" in self._found.given else settings
        self.starts_with = chosen.whole("decoder_start_token_id", least=0)
        """The id that every output begins with."""
        if self.starts_with >= len(vocabulary):
            raise chosen.wrong(
                "decoder_start_token_id", f"one of the {len(vocabulary):,} ids of vocab.json"
            )

    def _check_keys(self) -> None:
        found = self._found
        for key, value in found.given.items():
            if key in _SEARCH | _HARMLESS_TO_SEARCH:
                continue
            is_id = key == "forced_bos_token_id" and type(value) is int  # 0 is one too
            if value in _NEUTRAL.get(key, ()) and not is_id:
                continue
            if key in _NEUTRAL:
                raise found.wrong(key, "a search without it, since there is none here")
            found.refuse_unknown(key)

    def decode(self) -> DecodeConfig:
        """Beam and length penalty, which divides by length^α, EOS counted, as theirs does."""
        beams = self._found.given.get("num_beams", 1)
        if type(beams) is not int or not 1 <= beams <= _MOST_BEAMS:
            raise self._found.wrong("num_beams", f"1 to {_MOST_BEAMS:,}")
        alpha = self._found.given.get("length_penalty", 1.0)
        if not is_number(alpha) or not 0 <= alpha <= LARGEST_PENALTY:
            raise self._found.wrong("length_penalty", f"0 to {LARGEST_PENALTY:g}")
        return DecodeConfig(
            beam_size=beams,
            length_penalty=float(alpha),
            length_penalty_form="length",
            max_extra_tokens=self._lengths()[1],
        )

    def max_tokens(self) -> int:
        """The longest source, EOS included, whose output is within every limit of the model."""
        return self._lengths()[0]

    def _lengths(self) -> tuple[int, int]:
        """Tokens of the longest source, and what its output may have more."""
        longest = self._positions
        if "max_new_tokens" in self._found.given:  # which counts where both are given
            longest = min(longest, self._found.whole("max_new_tokens"))
        elif "max_length" in self._found.given:  # with the id that outputs start with
            longest = min(longest, self._found.whole("max_length") - 1)
        extra = min(DecodeConfig().max_extra_tokens, longest // 2)
        source = min(DataConfig().max_tokens, longest - extra)
        if source < 2:
            names = "max_position_embeddings, max_length and max_new_tokens"
            raise UserError(f"{self._found.where}: {names} allow {longest} tokens; wanted some.")
        return source, extra

    def never_said(self) -> list[int]:
        """The ids that no output has, padding among them."""
        banned = self._found.given.get("bad_words_ids", [])
        ids = [self._vocabulary["<pad>"]]
        for sequence in banned if isinstance(banned, list) else [banned]:
            match sequence:
                case [int(one)] if (
                    0 <= one < len(self._vocabulary) and one != self._vocabulary["</s>"]
                ):
                    ids.append(one)
                case _:
                    raise self._found.wrong("bad_words_ids", "a list of lists of one id each")
        return ids
