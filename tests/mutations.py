"""Break the program in one small place after another; the tests of that module must notice.

  .venv/bin/python -m tests.mutations               all of them: an hour on two cores
  .venv/bin/python -m tests.mutations model/loss    those of one module

Works on a copy of the checkout. The tests of `aiayn/model/loss.py` are in
`tests/model/test_loss.py`: who changes a module finds there what it promises.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


_LONGEST = 900
"""Seconds for the tests of one module; a change may keep them from ending."""


@dataclass(frozen=True)
class Mutation:
    """One change that breaks a promise: in a file under aiayn/, the only place that reads `old`."""

    path: str
    old: str
    new: str

    @property
    def file(self) -> Path:
        return Path("aiayn") / self.path

    @property
    def tests(self) -> Path:
        """Where it must be noticed."""
        path = Path(self.path)
        return Path("tests") / path.parent / f"test_{path.stem.strip('_')}.py"


MUTATIONS = [
    Mutation(*each)
    for each in [
        # The figures that are published.
        ("evaluation/average.py", "(value / len(steps))", "value"),
        (
            "evaluation/validation.py",
            '"dev_loss": total / count',
            '"dev_loss": 1.1 * total / count',
        ),
        (
            "evaluation/validation.py",
            "math.exp(min(total / count",
            "math.exp(min(1.1 * total / count",
        ),
        ("evaluation/validation.py", "beam_size=1)", "beam_size=2)"),
        ("evaluation/bleu.py", r'rb"\1 ##AT##-##AT## \2"', r'rb"\1 - \2"'),
        ("evaluation/brackets.py", 'PUNCTUATION | {TRACE, "TOP"}', "PUNCTUATION | {TRACE}"),
        ("evaluation/brackets.py", '_EQUAL = {"PRT": "ADVP"}', "_EQUAL: dict[str, str] = {}"),
        ("evaluation/brackets.py", "SHORT = 40", "SHORT = 39"),
        ("evaluation/brackets.py", "if _length(tree) <= SHORT", "if len(tree.tags) <= SHORT"),
        (
            "evaluation/brackets.py",
            "restricted(parsed, counted)",
            "restricted(parsed, [tag not in _DELETED for tag in parsed.tags])",
        ),
        (
            "evaluation/brackets.py",
            "(Counter(gold_brackets) & Counter(parsed_brackets)).total()",
            "len({*gold_brackets} & {*parsed_brackets})",
        ),
        ("evaluation/brackets.py", "uncrossed=int(crossing == 0)", "uncrossed=1"),
        ("evaluation/brackets.py", "left.end < end", "left.end <= end"),
        ("evaluation/brackets.py", "right.start > start", "right.start < start"),
        (
            "evaluation/brackets.py",
            "_percent(2 * sums.matched, sums.gold + sums.parsed)",
            "_percent(sums.matched, sums.gold)",
        ),
        ("evaluation/brackets.py", "if tree is None)", "if not tree and number > 2)"),
        ("evaluation/brackets.py", "if not counts.sentences)", "if counts.sentences)"),
        ("evaluation/brackets.py", "if wanted != found:", "if place > len(gold.words):"),
        (
            "evaluation/brackets.py",
            "(sums.exact, sums.sentences)",
            "(sums.exact, sums.sentences + 1)",
        ),
        ("evaluation/brackets.py", "if tagged else None", "if True else None"),
        ("training/log.py", "flops = 3 * matmul_flops", "flops = 2 * matmul_flops"),
        ("training/log.py", "self.src_tokens += int(", "self.src_tokens = int("),
        ("training/log.py", "max(1, step - self.skipped)", "step"),
        ("training/log.py", "self.crc32 = zlib.crc32(line.encode(), self.crc32)", "pass"),
        ("training/log.py", 'round(mean * (row["step"] - before))', "round(mean)"),
        (
            "evaluation/evaluate.py",
            'checkpoint ({steps[-1]:,})", last),',
            'checkpoint ({steps[-1]:,})", averaged),',
        ),
        (
            "evaluation/evaluate.py",
            "except UserError as error:\n        reason",
            "except LookupError as error:\n        reason",
        ),
        ("evaluation/evaluate.py", "places[name, place] =", "places[name, number] ="),
        ("training/log.py", 'row["skipped"] = int((~finite).sum())', 'row["skipped"] = 1'),
        ("training/log.py", '"padding": 1.0 - tokens', '"padding": tokens'),
        ("training/log.py", "each.plain_loss[finite]", "each.loss[finite]"),
        (
            "bench/contest.py",
            '[r["seconds_per_step"] / ours for r',
            '[ours / r["seconds_per_step"] for r',
        ),
        ("bench/contest.py", "workload.tokens / median", "workload.source_tokens / median"),
        ("bench/contest.py", "median = statistics.median(", "median = min("),
        ("bench/contest.py", "flops / median / max(xla)", "median * max(xla) / flops"),
        ("bench/contest.py", "flops / median / max(xla)", "flops / median / xla[0]"),
        ("bench/contest.py", "flops / median / peak if peak", "flops * median / peak if peak"),
        ("evidence/sweep.py", "point.bleu - own:+.2f", "own - point.bleu:+.2f"),
        ("evidence/sweep.py", "[str(value)] = Point(", "[str(getattr(around, name))] = Point("),
        ("evidence/table3.py", "tuple(own - base for", "tuple(base - own for"),
        ("evidence/table3.py", 'paper[row] - paper["base"] if', 'paper["base"] - paper[row] if'),
        ("evidence/table3.py", "return fmean(self.ours)", "return max(self.ours)"),
        (
            "evidence/published.py",
            '("wmt14_ende_big", "test"): _paper(BIG, "ende_bleu")',
            '("wmt14_ende_big", "test"): _paper(BASE, "ende_bleu")',
        ),
        ("evidence/paper.py", '"ConvS2S": System(25.16, 40.46', '"ConvS2S": System(26.03, 40.56'),
        ("evidence/run_tables.py", "{fmean(known):.2f} ±", "{max(known):.2f} ±"),
        ("evidence/run_tables.py", ".values())[-1] for run", ".values())[0] for run"),
        ("evidence/run_tables.py", 'f"{record.data.fingerprint} ', 'f"'),
        ("evidence/run_tables.py", "if name.endswith(OTHER_TEXT) or", "if"),
        ("evidence/pretraining.py", "{made.train.seed}-{folder_key(made)}", "{made.train.seed}"),
        ("evidence/self_training.py", "if there != str(text):", "if False:"),
        ("evidence/sweep.py", 'if found.get("about") == self._about:', "if True:"),
        ("evidence/table3.py", "{fmean(run.perplexity for", "{max(run.perplexity for"),
        ("evidence/table3.py", "{fmean(run.bleu for", "{max(run.bleu for"),
        ("evidence/table3.py", "return stdev(self.ours)", "return max(self.ours)"),
        (
            "evidence/ablation.py",
            "range(base.train.seed, base.train.seed + num_seeds)",
            "[base.train.seed] * num_seeds",
        ),
        ("evidence/ablation.py", "if set_by.get(row) == found.changes", "if True"),
        ("evaluation/record.py", 'tokeniser(first.how) in ("", "13a")', "True"),
        ("evaluation/systems.py", "if None not in lines:", "if True:"),
        # The model.
        ("model/transformer.py", "/ d_k**0.5", "/ d_k**0.4"),
        ("model/transformer.py", "(memory_segments_BM > 0)[:, None, :]", "True"),
        ("model/transformer.py", "& past_11TT", ""),
        ("model/transformer.py", "denominator=d_model // 2)", "denominator=d_model // 2 - 1)"),
        ("model/layers.py", "variance + self.epsilon", "variance"),
        ("model/layers.py", "centred = wide - wide.mean(axis, keepdims=True)", "centred = wide"),
        ("model/layers.py", "return norm(x_BTD + dropout(", "return norm(dropout("),
        ("model/dropout.py", "1.0 / (1.0 - rate)", "1.0 / (1.0 - rate / 2)"),
        ("model/dropout.py", "jnp.uint32(place + 1)", "jnp.uint32(1)"),
        ("model/loss.py", "spread = smoothing / (num_words - 1)", "spread = smoothing / num_words"),
        ("model/loss.py", "- target_CV * weight_C1", "- target_CV"),
        ("model/loss.py", "return right_C - lse_C", "return lse_C - right_C"),
        ("model/structure.py", "{value.dtype} {value.shape}", "{value.dtype}"),
        ("model/saved.py", "if damage := find_damage(folder)", "if damage := None"),
        # The data.
        ("data/updates.py", "default_rng([self.seed, epoch])", "default_rng([self.seed])"),
        ("data/updates.py", "default_rng([seed, epoch, chosen])", "default_rng([seed, chosen])"),
        (
            "data/updates.py",
            "for start in range(0, row_class.num_rows, size)",
            "for start in range(0, row_class.num_rows - row_class.num_rows % size, size)",
        ),
        ("data/updates.py", "array[local.ravel() < 0] = 0", "pass"),
        ("data/packing.py", "< max_tokens:", "<= max_tokens:"),
        ("data/packing.py", "> max_tokens:", "> max_tokens + 1:"),
        ("data/packing.py", "ids[n - 1] == line_break", "ids[n - 1] == -1"),
        ("data/packing.py", "len(ids) - start - 2", "len(ids) - start"),
        ("data/packing.py", "if src_width else tgt_share", "if src_width else 0 * tgt_share"),
        ("data/rows.py", "1 + max(map(len, texts))", "max(map(len, texts))"),
        ("data/tokenizer.py", "part[1:] if part[0] == self._blank else part", "part"),
        ("data/tokenizer.py", '"remove_extra_whitespaces": False', '"split_by_number": True'),
        ("data/text.py", 'r"[^\\S\\n\\t]", " "', 'r"[^\\S\\n]+", " "'),
        ("data/cleaning.py", "bool(rules.held_tgt) and key(text) in rules.held_tgt", "False"),
        ("data/cleaning.py", "text = tgt if rules.documents else src", "text = src"),
        ("data/sources/documents.py", "too_long |= line is TOO_LONG", "pass"),
        ("data/prepare.py", "line if self.manifest.src else clean(line)", "line"),
        ("data/report.py", "min(SAMPLE, held, kept)", "min(SAMPLE, kept)"),
        ("data/plain.py", "if 10 * len(found) > len(lines)", "if 10 * len(found) >= len(lines)"),
        ("data/corpus.py", "manifest.data_hash != data_hash(data) or ", ""),
        ("data/corpus.py", "if data.deduplicate:", "if True:"),
        ("data/prepare.py", 'yield from read_lines(text / "train.tgt")', "pass"),
        (
            "data/prepare.py",
            "origin = [*_hashes(manifest, split), hashlib.sha256(tokenizer.model).hexdigest()]",
            "origin = _hashes(manifest, split)",
        ),
        ("data/prepare.py", "digest.update(tokenizer)", "pass"),
        ("data/prepare.py", 'if tests or not name.startswith("test.")', "if True"),
        ("data/prepare.py", 'data if split == "train" else unlimited(data)', "data"),
        ("data/prepare.py", "found = find_prepared(begun, root) if begun", "found = None if begun"),
        (
            "data/prepare.py",
            'damage = damaged(stamp.parent, dict(found["sha256"].items()))',
            'damage = ""',
        ),
        ("data/packing.py", "which[(which == number) & (src_n > src_width)] += 1", "pass"),
        (
            "data/changes.py",
            "last.number + 1 if last and last.files == each.files else 1",
            "last.number + 1 if last else 1",
        ),
        ("data/changes.py", "count + skipped.counts.total()", "count"),
        ("data/trees.py", "while opened and opened[-1].end ==", "if opened and opened[-1].end =="),
        ("data/trees.py", 'label[0] in "-="', "False"),
        ("data/trees.py", "if bracket.start < bracket.end),", "),"),
        ("data/trees.py", "before[start], before[end])", "start, before[end])"),
        ("data/trees.py", "if tag in PUNCTUATION else UNTAGGED", "if False else UNTAGGED"),
        ("data/trees.py", "[1:] == (0, len(tree.words))):", "[1] == 0):"),
        ("data/trees.py", "while open_labels[symbol[1:]]:", "while opened:"),
        ("data/trees.py", "elif len(tags) == len(words):", "elif False:"),
        ("data/trees.py", "_replace(end=len(words))", "_replace(end=len(tags))"),
        ("data/trees.py", "and found[outermost][1:] == (0, len(tags))", ""),
        ("data/trees.py", "if b.start < b.end and b.label not in ROOTS", "if b.start < b.end"),
        ("data/sources/treebank.py", "if indent > self._indent or", "if indent > 0 or"),
        ("data/sources/treebank.py", "return not is_rooted or", "return True or"),
        ("data/sources/treebank.py", "malformed.count += 1", "pass"),
        ("data/sources/treebank.py", "if each[0] not in ROOTS", ""),
        ("data/sources/treebank.py", "malformed.joined += entry.joined", "pass"),
        ("data/sources/treebank.py", "if flaw or self._is_empty:", "if flaw:"),
        ("data/sources/treebank.py", "self._open[-2][0] not in ROOTS", "False"),
        ("data/sources/treebank.py", "growing.flaw = growing.flaw or damage\n        if", "if"),
        ("data/corpus.py", "tests={**source.tests, **tests}", "tests={**source.tests}"),
        (
            "data/sources/opening.py",
            "self._head[: len(buffer)] or self._rest.read(len(buffer))",
            "self._rest.read(len(buffer))",
        ),
        # The step.
        ("training/optim.py", "number * warmup_steps**-1.5", "number * warmup_steps**-1.4"),
        ("training/optim.py", "d_model**-0.5 *", "d_model**-0.4 *"),
        (
            "training/step.py",
            "finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)",
            "finite = jnp.isfinite(grad_norm)",
        ),
        (
            "training/step.py",
            "grads = jax.tree.map(lambda g: g / tgt_tokens, grads)",
            "grads = jax.tree.map(lambda g: g / src_tokens, grads)",
        ),
        ("training/step.py", "state.step, first + jnp.arange", "state.step, jnp.arange"),
        # The run.
        ("training/run_folder.py", "if not prepared.is_of(begun.fingerprint):", "if False:"),
        ("training/run_folder.py", '    "data.test_files",\n', '    "data.",\n'),
        ("training/states.py", "newest < stopped_at", "newest <= stopped_at"),
        ("training/states.py", "if not np.isfinite(values).all():", "if False:"),
        ("training/states.py", "self.is_finished and (spoilt :=", "False and (spoilt :="),
        ("training/checkpoint.py", '"totals": totals,', '"totals": None,'),
        ("model/saved.py", '_SUMMED = ("config.json", ', "_SUMMED = ("),
        ("evidence/sweep.py", "with in_use(run_dir):", "if True:"),
        ("evidence/outputs.py", "not abs(entry.value - value) < _NEAR", "False"),
        (
            "evidence/outputs.py",
            "== (known.src, known.ref):",
            "!= (None, None):",
        ),
        ("evidence/age.py", "return (True, 0) if", "return (False, -1) if"),
        ("system/checkout.py", '{known}..HEAD"', '{known}^..HEAD"'),
        ("evaluation/bleu.py", '_sacrebleu("none")', '_sacrebleu("13a")'),
        # The search.
        (
            "decoding/search.py",
            "hope_B = best_B / self._penalty(now, now.limit_B)\n        if",
            "hope_B = best_B / self._penalty(now, now.age_B)\n        if",
        ),
        ("decoding/search.py", "((5.0 +", "((6.0 +"),
        (
            "decoding/search.py",
            "self._penalty(now, age_B + 1)",
            "self._penalty(now, age_B)",
        ),
        ("decoding/search.py", "asked_B is None else asked_B", "asked_B is None else self.alpha"),
        ("decoding/search.py", "lax.top_k(log_probs_BC + bonus_BC,", "lax.top_k(log_probs_BC,"),
        ("decoding/search.py", "grown.bonus_BC / penalty_B1", "grown.bonus_BC"),
        ("decoding/search.py", "            best_B += most_B", "            best_B += 0 * most_B"),
        (
            "decoding/search.py",
            "logits_VN[word_BC, of_BC] + own_N",
            "logits_VN[word_BC, of_BC] + before_N",
        ),
        ("decoding/controls.py", "jnp.repeat(bias_VB, beam_size, axis=1)", "0.0"),
        ("serve/answers.py", "not (wanted.stop or wanted.bias)", "not wanted.stop"),
        ("serve/lanes.py", "sizes.alpha if ask.alpha is None else ask.alpha", "sizes.alpha"),
        (
            "decoding/search.py",
            "now.ended_scores_BW[:, : self.num_best], now.cut_B",
            "now.ended_scores_BW[:, : self.num_best], now.finished_B",
        ),
        (
            "decoding/translator.py",
            "return len(ids) + self.config.max_extra_tokens + 1",
            "return len(ids) + self.config.max_extra_tokens",
        ),
        ("decoding/controls.py", "(back >= length_B11)", "(back > length_B11)"),
        # Lines in pieces, words that never come, and text as it grows.
        ("decoding/translator.py", "least * len(pieces[n]) // total", "least // total"),
        ("decoding/outputs.py", "key=lambda each: -each.score", "key=lambda each: each.score"),
        ("decoding/spellings.py", "found < _SPELLINGS and", "found <= _SPELLINGS and"),
        ("decoding/unfolding.py", "return count if count < 2", "return 0 if count < 2"),
        # The grammar that a parser is held against.
        ("bench/pcfg.py", "max(0, place - 2) : place", "max(0, place - 1) : place"),
        ("bench/pcfg.py", "bracket.label, opened[-1].label,", "bracket.label, ROOT,"),
        ("bench/pcfg.py", "step.child)[-2:]", "step.child)[:2]"),
        (
            "bench/pcfg.py",
            "split_R = scores_RN.argmax(axis=1)",
            "split_R = scores_RN.argmin(axis=1)",
        ),
        ("bench/pcfg.py", "while self._add(", "if self._add("),
        ("bench/pcfg.py", "np.maximum.reduceat", "np.minimum.reduceat"),
        ("bench/pcfg.py", "+= reversed(inside)", "+= inside"),
        ("bench/pcfg.py", "math.log(count / self._of_all[tag])", "math.log(count)"),
        ("bench/pcfg.py", "if tags.total() == 1:", "if tags.total():"),
        # Other toolkits: what they are given, and what is said of them.
        ("bench/recipe.py", "train.warmup_steps) ** -0.5", "train.warmup_steps) ** 0.5"),
        ("bench/recipe.py", "if at <= updates)", "if at == updates)"),
        ("bench/recipe.py", "            self._began = None\n", "            pass\n"),
        ("bench/recipe.py", 'line.split(" ") if line else []', 'line.split(" ")'),
        ("bench/toolkits.py", "math.ceil(pairs / (BATCHES * per_epoch))", "pairs // BATCHES"),
        ("bench/toolkits.py", "_MORE_SLOTS = 1.2", "_MORE_SLOTS = 1.0"),
        ("bench/toolkits.py", "max(map(len, pair)) < longest", "max(map(len, pair)) <= longest"),
        ("bench/toolkits.py", 'if known.get("done"):', "if rows:"),
        ("bench/toolkits.py", "pass_fds=[self.lock],", ""),
        ("bench/toolkits.py", "env={**os.environ, **LARGE_PAGES},", ""),
        ("bench/toolkits.py", 'known.get("sessions", 0) + 1', "1"),
        ("bench/toolkits.py", '            tokens = row["tokens"]\n', ""),
        ("bench/toolkits.py", "point.dev_bleu >= bleu", "point.dev_bleu > bleu"),
        ("bench/toolkits.py", "tokens / course[-1].seconds if course", "tokens if course"),
        ("bench/toolkits.py", "if Recipe.read(folder) != recipe:", "if False:"),
        ("bench/toolkits.py", '* rows[-1]["epochs"]', ""),
        ("evidence/toolkit_tables.py", "            and is_repeat(record)\n", ""),
        ("evidence/table3.py", "abs(self.mean) <= least", "abs(self.mean) <= self.spread"),
        ("evidence/table3.py", "(1 + _CONFIDENCE) / 2", "_CONFIDENCE"),
        ("evidence/table3.py", "stdtrit(seeds - 1,", "stdtrit(seeds,"),
        ("evidence/bench_tables.py", "sorted(group, key=_our_seconds)", "group"),
        ("bench/grammar.py", "if number:", "if True:"),
        ("bench/grammar.py", "symbols[FREE] / symbols[WITHIN]", "symbols[WITHIN] / symbols[FREE]"),
        # What may follow in a tree.
        ("decoding/grammar.py", ">= needed_BW + 2", ">= needed_BW + 1"),
        ("decoding/grammar.py", "| (depth_BW > 1)", "| (depth_BW > 0)"),
        ("decoding/grammar.py", "(in_a_row_BW == 0) &", ""),
        ("decoding/grammar.py", "& (depth_BWT == depth_BW[..., None])", ""),
        ("decoding/grammar.py", "place_11T < age_B1[..., None]", "place_11T >= 0"),
        ("decoding/grammar.py", 'and f"){s[1:]}" in known', ""),
        ("decoding/parser.py", "return [ids]", "return [ids[:3]]"),
        ("decoding/parser.py", "other._is_free = True", "self._is_free = True"),
        ("data/tokenizer.py", 'text.replace("\\u2581", "_")', "text"),
        ("evaluation/parses.py", "parsed(parser.free(),", "parsed(parser,"),
        ("evaluation/parses.py", "counts.parsed / max(counts.gold, 1)", "1.0"),
        ("decoding/parser.py", "known.issuperset(symbols.split())", "True"),
        ("decoding/parser.py", "if found_word != word:", "if not found_word:"),
        ("data/penn.py", "and _ABBREVIATION.fullmatch(last.text)", ""),
        ("data/penn.py", "or before in _OPENING", ""),
        ("data/penn.py", "while found := _ENDING", "if found := _ENDING"),
        ("data/sources/treebook.py", "depth(tree) <= DEEPEST", "depth(tree) < DEEPEST"),
        ("data/sources/treebook.py", "tree.words not in seen", "True"),
        ("data/sources/treebook.py", "if len(words) == MOST_WORDS:", "if False:"),
        ("data/sources/embedded.py", "linearise(tree, terminals)", "linearise(tree)"),
        ("render/branches.py", "(below[0][0] + below[-1][0]) / 2", "below[0][0]"),
        ("decoding/controls.py", "banned_B1KL == FREE", "banned_B1KL == 0"),
        ("decoding/controls.py", "& is_early_1N & others_1N", "& is_early_1N"),
        ("decoding/controls.py", "before_NV < top_p_N", "before_NV + probs_NV < top_p_N"),
        ("decoding/controls.py", "sample_N), position_N)", "sample_N), sample_N)"),
        (
            "decoding/controls.py",
            "logit_N - jax.nn.logsumexp(logits_VN",
            "logit_N - jax.nn.logsumexp(chosen_VN",
        ),
        ("decoding/wishes.py", "{self.seed or 0} {list(source)}", "{self.seed or 0}"),
        ("decoding/spellings.py", "if tokenizer.unknown in ids", "if tokenizer.eos in ids"),
        ("decoding/alignment.py", "share_TN.T @ between_TS @ share_SM", "share_TN.T @ between_TS"),
        ("decoding/alignment.py", "slice(num_layers // 2, None)", "slice(0, None)"),
        ("decoding/alignment.py", "bare = text if number else", "bare = text if not number else"),
        ("evidence/alignment.py", "weights_TS[after:]", "weights_TS"),
        ("decoding/outputs.py", "score=sum(each.score for each in parts)", "score=parts[0].score"),
        (
            "decoding/heads.py",
            'found["cross"].append(layer.cross_attention.weights(y_BTD',
            'found["cross"].append(layer.cross_attention.weights(x_BTD',
        ),
        (
            "decoding/translator.py",
            "{unit} {first + place} has",
            "{unit} {1 + place} has",
        ),
        # The page.
        ("decoding/turns.py", " & ~has_ended", ""),
        ("serve/engine.py", "if not is_here or spare:", "if not is_here:"),
        ("serve/engine.py", "texts += [(request", "_ = [(request"),
        ("serve/answers.py", "if stopped and said:", "if False:"),
        ("serve/logprobs.py", "text.rstrip(INCOMPLETE)", "text"),
        ("serve/guard.py", "return netloc == host or", "return True or"),
        ("serve/text.py", "is_by_line = not found[1]", "pass"),
        ("serve/lanes.py", "(self.may_cut and not ask.is_followed)", "self.may_cut"),
        ("serve/lanes.py", "self._end(over)", "self._end([])"),
        ("serve/lanes.py", "places[:] = self.plan.sizes.slots", "pass"),
        ("serve/engine.py", "is_theirs = has_many or not plan.is_of_many", "is_theirs = True"),
        ("serve/engine.py", "self._on_turn()  # others may wait", "pass  # others may wait"),
        ("serve/libretranslate.py", "if into == offered", ""),
        ("serve/words.py", "drawn_V[tokenizer.eos] = -np.inf", "pass"),
        ("decoding/alignment.py", "if len(found) < count:", "if False:"),
        (
            "decoding/search.py",
            "        best_GN = logits_GEN.max(axis=1)\n    own_N",
            "\n    own_N",
        ),
        ("data/sources/columns.py", "if ours and _ABOUT.intersection(words) - ours:", "if False:"),
        ("data/sources/formats.py", "elif header and line.strip():", "elif header:"),
        ("evaluation/perplexity.py", "(document)[len(unpredicted) :]", "(document)"),
        ("evaluation/average.py", "if found != shapes or", "if"),
        (
            "decoding/turns.py",
            "_end(self._state, ended_B), None",
            "_end(self._state, ended_B), self._seen",
        ),
        ("serve/server.py", "self._patience.cancel()", "pass"),
        ("serve/server.py", "socket.SOCK_STREAM, socket.IPPROTO_TCP", "socket.SOCK_STREAM"),
        ("serve/page.py", "len(body) > _MOST_BYTES", "False"),
        ("serve/inspection.py", "len(text) > MOST_CHARACTERS", "False"),
        ("serve/words.py", "sorted_V[asked.top_k :]", "sorted_V[asked.top_k + 1 :]"),
        ("serve/space.py", "placed_BSD if with_positions else embedded_BSD", "placed_BSD"),
        ("serve/beams.py", "not ends and place in next_W", "not ends"),
        ("decoding/trace.py", "forced[0, : len(prefix)] = prefix", "pass"),
        # The language model at work.
        (
            "model/language_model.py",
            "causal_mask(rows.tgt_segments_BT)",
            "causal_mask(0 * rows.tgt_segments_BT + 1)",
        ),
        ("model/transformer.py", "if self.config.scale_embedding else x_BTD", "if True else x_BTD"),
        (
            "decoding/search.py",
            "number_G, segments_GP.sum(axis=1), limit_G",
            "number_G, 0 * segments_GP.sum(axis=1), limit_G",
        ),
        ("serve/lanes.py", "each.score / penalty > best", "each.score > best"),
        ("serve/guard.py", "hmac.compare_digest(given.encode(), wanted.encode())", "given"),
        ("serve/text.py", "before += piece", "pass"),
        ("decoding/unfolding.py", "text.rstrip(INCOMPLETE)", "text"),
        ("decoding/unfolding.py", "text[: len(text) - self._may_stop(text)]", "text"),
        ("decoding/unfolding.py", "low = middle + 1", "low = high"),
        (
            "decoding/writer.py",
            "longer_B = controls.min_length_B + jnp.array(lengths, jnp.int32)",
            "longer_B = controls.min_length_B",
        ),
        ("decoding/writer.py", "len(said) + self._most[number] + 1", "self._most[number] + 1"),
        ("decoding/writer.py", '"limit" if is_cut else "eos"', '"eos"'),
        ("decoding/ensemble.py", "- jnp.log(jnp.float32(len(logits)))", ""),
        ("decoding/ensemble.py", "if hashes[0] != hashes[1]:", "if False:"),
        ("evaluation/perplexity.py", "log_probs[window.first or", "log_probs[0 and"),
        ("evaluation/perplexity.py", "bits = total.nats / math.log(2)", "bits = total.nats"),
        ("evaluation/texts.py", "sample=NUM_SAMPLES", "sample=1"),
        # Models of others, pictures.
        ("interop/marian.py", "= kernel.T", "= kernel"),
        ("interop/marian.py", '("k", "key"),', '("k", "value"),'),
        ("interop/gpt.py", '("query", "key", "value")', '("query", "value", "key")'),
        ("interop/gpt.py", "_NEVER = -1e4", "_NEVER = 1e-4"),
        ("interop/gpt_config.py", '"d_ff": 4 * width', '"d_ff": 3 * width'),
        ("interop/settings.py", "key not in {*known", "key in {*known"),
        ("interop/ctranslate2.py", "table + model.params", "table - model.params"),
        ("render/heads.py", "mean_QM = weights_HQM.mean(axis=0)", "mean_QM = weights_HQM[0]"),
        ("bench/scaling.py", "within = 2 * (local - 1)", "within = (local - 1)"),
        (
            "bench/growth.py",
            "exponent(sizes[-3:], seconds[-3:])",
            "exponent(sizes[-3:], flops[-3:])",
        ),
        # The machine.
        ("system/files.py", "temporary.replace(path)", "path.write_bytes(content)"),
        ("system/files.py", "int(found[1]) if found else", "None if found else"),
        ("system/kept.py", "digest() == found[:_DIGEST]", "digest() != b''"),
        (
            "system/kept.py",
            '"\\n".join([code(), *settings, about])',
            '"\\n".join([code(), about])',
        ),
        ("system/environment.py", "about.st_uid == os.getuid() and ", ""),
        ("system/environment.py", "not about.st_mode & 0o77", "True"),
        ("system/streams.py", 'errors="backslashreplace"', 'errors="strict"'),
        (
            "system/hosts.py",
            "mine = list(work(lines[jax.process_index() :: count]))",
            "mine = list(work(lines))[::-1]",
        ),
        ("system/refusals.py", "isinstance(error, AssertionError) and not text", "not text"),
        ("render/terminal.py", "markup=False, emoji=False", "markup=False, emoji=True"),
        ("render/terminal.py", "self.width = usual", "pass"),
        ("__main__.py", "else 130", "else 1"),
        ("__main__.py", "gc.freeze()", "pass"),
        ("system/files.py", "return Path(text).expanduser()", "return Path(text)"),
        ("system/flags.py", "if done.returncode and found else", "if False else"),
        # Configs, records, verbs.
        (
            "commands/verb.py",
            'if text == "-" else existing(text)',
            "if not text else existing(text)",
        ),
        ("commands/bleu.py", "if path == STANDARD_INPUT else", "if False else"),
        (
            "commands/translate.py",
            "        if part:\n            yield part\n        raise",
            "        raise",
        ),
        ("config.py", 'del values["data"]["folder"]', "pass"),
        ("config.py", "lambda value: value <= most", "lambda value: True"),
        ("config.py", "300 <= value <= 65_535", "299 <= value <= 65_536"),
        ("evaluation/scores.py", '"–" if value is None', '"0.00" if value is None'),
    ]
]


def broken(mutation: Mutation, text: str) -> str:
    """The file's text with the change; it must be in exactly one place."""
    count = text.count(mutation.old)
    if count != 1:
        raise ValueError(f"{mutation.file} has {mutation.old!r} {count} times; wanted once.")
    return text.replace(mutation.old, mutation.new)


def is_noticed(mutation: Mutation, copy: Path) -> bool:
    """Whether the module's own tests fail with the change."""
    path = copy / mutation.file
    before = path.read_text(encoding="utf-8")
    path.write_text(broken(mutation, before), encoding="utf-8")
    try:
        command = [sys.executable, "-m", "pytest", "-n0", "-x", "-q", "-m", "", str(mutation.tests)]
        own = {**os.environ, "PYTHONPATH": str(copy)}  # for the processes that tests start
        done = subprocess.run(
            command, cwd=copy, env=own, capture_output=True, text=True, timeout=_LONGEST
        )
    except subprocess.TimeoutExpired:
        return True  # nobody would take that for a pass
    finally:
        path.write_text(before, encoding="utf-8")
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{mutation.tests} did not run:\n{done.stdout[-2_000:]}{done.stderr}")
    return done.returncode == 1


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("module", nargs="?", default="", help="a part of the path under aiayn/")
    chosen = [m for m in MUTATIONS if parser.parse_args().module in m.path]
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy / name)
        for number, mutation in enumerate(chosen, 1):
            noticed = is_noticed(mutation, copy)
            missed += not noticed
            word = "noticed" if noticed else "NOT NOTICED"
            print(f"{number}/{len(chosen)} {word}: {mutation.file}: {mutation.new}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} noticed.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
