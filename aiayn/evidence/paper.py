"""The paper's own results: Tables 2 to 4, and what its prose says of training.

Source: Vaswani et al. 2017, arXiv 1706.03762. The sizes and the recipe are `config`'s defaults, the
claims in words are in `claims`.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """A row of Table 2: BLEU on newstest2014 and training cost in FLOPs; None where it has none."""

    ende_bleu: float | None = None
    enfr_bleu: float | None = None
    ende_flops: float | None = None
    enfr_flops: float | None = None


TABLE_2: Mapping[str, System] = {
    "ByteNet": System(23.75),
    "Deep-Att + PosUnk": System(None, 39.2, None, 1.0e20),
    "GNMT + RL": System(24.6, 39.92, 2.3e19, 1.4e20),
    "ConvS2S": System(25.16, 40.46, 9.6e18, 1.5e20),
    "MoE": System(26.03, 40.56, 2.0e19, 1.2e20),
    "Deep-Att + PosUnk ensemble": System(None, 40.4, None, 8.0e20),
    "GNMT + RL ensemble": System(26.30, 41.16, 1.8e20, 1.1e21),
    "ConvS2S ensemble": System(26.36, 41.29, 7.7e19, 1.2e21),
    "Transformer (base model)": System(27.3, 38.1, 3.3e18, 3.3e18),
    "Transformer (big)": System(28.4, 41.8, 2.3e19, 2.3e19),
}
BASE, BIG = "Transformer (base model)", "Transformer (big)"
ENFR_BIG_BLEU_IN_PROSE = 41.0
"""What §6.1 says where the abstract and Table 2 say 41.8."""


@dataclass(frozen=True)
class Variant:
    """A row of Table 3: what it changes of the base model, and its results on newstest2013."""

    changes: Mapping[str, object]
    """Settings by their name in an experiment, `model.num_heads`."""
    perplexity: float
    """Per word piece."""
    bleu: float
    """Beam search, no averaging."""
    parameters: int | None = None
    """Millions; only some rows state it."""


TABLE_3: Mapping[str, Variant] = {
    "base": Variant({}, 4.92, 25.8, 65),
    "A1": Variant({"model.num_heads": 1, "model.d_k": 512, "model.d_v": 512}, 5.29, 24.9),
    "A2": Variant({"model.num_heads": 4, "model.d_k": 128, "model.d_v": 128}, 5.00, 25.5),
    "A3": Variant({"model.num_heads": 16, "model.d_k": 32, "model.d_v": 32}, 4.91, 25.8),
    "A4": Variant({"model.num_heads": 32, "model.d_k": 16, "model.d_v": 16}, 5.01, 25.4),
    "B1": Variant({"model.d_k": 16}, 5.16, 25.1, 58),
    "B2": Variant({"model.d_k": 32}, 5.01, 25.4, 60),
    "C1": Variant({"model.num_layers": 2}, 6.11, 23.7, 36),
    "C2": Variant({"model.num_layers": 4}, 5.19, 25.3, 50),
    "C3": Variant({"model.num_layers": 8}, 4.88, 25.5, 80),
    "C4": Variant({"model.d_model": 256, "model.d_k": 32, "model.d_v": 32}, 5.75, 24.5, 28),
    "C5": Variant({"model.d_model": 1024, "model.d_k": 128, "model.d_v": 128}, 4.66, 26.0, 168),
    "C6": Variant({"model.d_ff": 1024}, 5.12, 25.4, 53),
    "C7": Variant({"model.d_ff": 4096}, 4.75, 26.2, 90),
    "D1": Variant({"model.dropout_rate": 0.0}, 5.77, 24.6),
    "D2": Variant({"model.dropout_rate": 0.2}, 4.95, 25.5),
    "D3": Variant({"train.label_smoothing": 0.0}, 4.67, 25.3),
    "D4": Variant({"train.label_smoothing": 0.2}, 5.47, 25.7),
    "E": Variant({"model.positions": "learned"}, 4.92, 25.7),
    "big": Variant(
        {
            "model.d_model": 1024,
            "model.d_ff": 4096,
            "model.num_heads": 16,
            "model.dropout_rate": 0.3,
            "train.num_steps": 300_000,
        },
        4.33,
        26.4,
        213,
    ),
}


@dataclass(frozen=True)
class Training:
    """What §5.2 says of a model's training on 8 P100."""

    num_steps: int
    seconds_per_step: float
    hours: float


TRAINING: Mapping[str, Training] = {
    "base": Training(100_000, 0.4, 12.0),
    "big": Training(300_000, 1.0, 3.5 * 24),
}
NUM_GPUS = 8  # §5.2
SUSTAINED_FLOPS = {"K80": 2.8e12, "K40": 3.7e12, "M40": 6.0e12, "P100": 9.5e12}
"""Single-precision FLOP/s that the paper takes each GPU to sustain (§6.1, footnote 5)."""
TOKENS_PER_UPDATE = 25_000  # §5.1, on either side


@dataclass(frozen=True)
class ParserRow:
    """A row of Table 4: what the parser learnt from, and its F1 on section 23 of the WSJ."""

    training: str
    f1: float


WSJ_ONLY = "WSJ only"
"""As it says of those that learnt from its trees alone, which it calls discriminative."""
TABLE_4: Mapping[str, ParserRow] = {
    "Vinyals & Kaiser et al. (2014)": ParserRow(WSJ_ONLY, 88.3),
    "Petrov et al. (2006)": ParserRow(WSJ_ONLY, 90.4),
    "Zhu et al. (2013)": ParserRow(WSJ_ONLY, 90.4),
    "Dyer et al. (2016)": ParserRow(WSJ_ONLY, 91.7),
    "Transformer (4 layers)": ParserRow(WSJ_ONLY, 91.3),
    "Zhu et al. (2013), with parsed text": ParserRow("semi-supervised", 91.3),
    "Huang & Harper (2009)": ParserRow("semi-supervised", 91.3),
    "McClosky et al. (2006)": ParserRow("semi-supervised", 92.1),
    "Vinyals & Kaiser et al. (2014), with parsed text": ParserRow("semi-supervised", 92.1),
    "Transformer (4 layers), with parsed text": ParserRow("semi-supervised", 92.7),
    "Luong et al. (2015)": ParserRow("multi-task", 93.0),
    "Dyer et al. (2016), generative": ParserRow("generative", 93.3),
}
PARSER = "Transformer (4 layers)"
PARSER_OF_MORE = f"{PARSER}, with parsed text"
PARSED_BY: Mapping[str, str] = {
    PARSER: "wsj_parsing",
    PARSER_OF_MORE: "wsj_parsing_semi",
}
"""The experiments that rows of Table 4 are of."""
