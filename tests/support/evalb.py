"""What EVALB counts with COLLINS.prm in cases by hand, and what we count where it counts nothing.

`tests/parity/test_evalb.py` runs it on them.
"""

from typing import NamedTuple


class Counted(NamedTuple):
    """Of one sentence, in EVALB's order."""

    matched: int
    gold: int
    parsed: int
    crossing: int
    words: int
    tagged: int


class Case(NamedTuple):
    """A tree, a parse of it, and what is counted."""

    gold: str
    parsed: str
    evalb: Counted | int
    """EVALB's counts; or its status, 1 (Error) or 2 (Skip), with which it counts nothing."""
    ours: Counted | str = ""
    """Where we count otherwise; or, in words, what we refuse it with."""


CASES = {
    "equal": Case(
        "(TOP (S (NP (DT the) (NN dog)) (VP (VBZ barks)) (. .)))",
        "(TOP (S (NP (DT the) (NN dog)) (VP (VBZ barks)) (. .)))",
        Counted(3, 3, 3, 0, 3, 3),
    ),
    "another label": Case(
        "(TOP (S (NP (DT the) (NN dog)) (VP (VBZ barks)) (. .)))",
        "(TOP (S (NP (DT the) (NN dog)) (NP (VBZ barks)) (. .)))",
        Counted(2, 3, 3, 0, 3, 3),
    ),
    "too few": Case(
        "(TOP (S (NP (DT the) (NN dog)) (VP (VBZ barks)) (. .)))",
        "(TOP (S (DT the) (NN dog) (VBZ barks) (. .)))",
        Counted(1, 3, 1, 0, 3, 3),
    ),
    "too many": Case(
        "(TOP (S (DT the) (NN dog) (VBZ barks) (. .)))",
        "(TOP (S (NP (DT the) (NX (NN dog))) (VP (VBZ barks)) (. .)))",
        Counted(1, 1, 4, 0, 3, 3),
    ),
    "one over another of its label counts twice": Case(
        "(TOP (NP (NP (NN dog))))", "(TOP (NP (NP (NN dog))))", Counted(2, 2, 2, 0, 1, 1)
    ),
    "and is matched by two only": Case(
        "(TOP (NP (NP (NN dog))))", "(TOP (NP (NN dog)))", Counted(1, 2, 1, 0, 1, 1)
    ),
    "unary ones in another order": Case(
        "(TOP (S (VP (VB go))))", "(TOP (VP (S (VB go))))", Counted(2, 2, 2, 0, 1, 1)
    ),
    "ADVP is PRT": Case(
        "(TOP (VP (VB go) (PRT (RP up)) (ADVP (RB now))))",
        "(TOP (VP (VB go) (ADVP (RP up)) (PRT-X (RB now))))",
        Counted(3, 3, 3, 0, 3, 3),
    ),
    "PRT|ADVP is neither": Case(
        "(TOP (VP (VB go) (PRT|ADVP (RP up))))",
        "(TOP (VP (VB go) (ADVP (RP up))))",
        Counted(1, 2, 2, 0, 2, 2),
    ),
    "so with tags, which are not cut": Case(
        "(TOP (NP (PRT up) (NN-X dog) (ADVP now)))",
        "(TOP (NP (ADVP up) (NN dog) (PRT now)))",
        Counted(1, 1, 1, 0, 3, 2),
    ),
    "functions and indices are cut": Case(
        "(TOP (S (NP-SBJ=2 (NN dog)) (VP=1 (VBZ barks))))",
        "(TOP (S-TPC-1 (NP-X (NN dog)) (VP (VBZ barks))))",
        Counted(3, 3, 3, 0, 2, 2),
    ),
    "a label of functions alone is cut to none": Case(
        "(TOP (S (-X (NN dog)) (=Y (VBZ barks))))",
        "(TOP (S (-Z (NN dog)) (VBZ barks)))",
        Counted(2, 3, 2, 0, 2, 2),
    ),
    "punctuation elsewhere": Case(
        "(TOP (S (NP (NN dog)) (, ,) (VP (VBZ barks)) (: -) (. .)))",
        "(TOP (S (NP (NN dog) (, ,)) (VP (VBZ barks) (: -) (. .))))",
        Counted(3, 3, 3, 0, 2, 2),
    ),
    "constituents of punctuation alone": Case(
        "(TOP (S (PRN (`` ``) (-NONE- *)) (NN dog) (PRN ('' '') (. .))))",
        "(TOP (S (`` ``) (NN dog) (X ('' '')) (. .)))",
        Counted(1, 1, 1, 0, 1, 1),
    ),
    "brackets, signs and question marks by other tags are words": Case(
        "(TOP (S (PRN (-LRB- -LRB-) (NN dog) (-RRB- -RRB-)) ($ $) (# #) (? ?)))",
        "(TOP (S (-LRB- -LRB-) (PRN (NN dog)) (-RRB- -RRB-) (NP ($ $) (# #)) (? ?)))",
        Counted(1, 2, 3, 0, 6, 6),
    ),
    "traces on one side": Case(
        "(TOP (S (NP-SBJ (-NONE- *)) (VP (VB go) (SBAR (-NONE- 0) (S (NP (NN home)))))))",
        "(TOP (S (VP (VB go) (SBAR (S (NP (NN home)))))))",
        Counted(5, 5, 5, 0, 2, 2),
    ),
    "labels that are not counted": Case(
        "(TOP (TOP-X (, (S (NN dog) (: (VBZ barks))))))",
        "(TOP (S (NN dog) (VBZ barks)))",
        Counted(1, 1, 1, 0, 2, 2),
    ),
    "words by the tag TOP vanish": Case(
        "(TOP (S (TOP oh) (NP (NN dog))))",
        "(TOP (S (NP (TOP oh) (NN dog))))",
        Counted(2, 2, 2, 0, 1, 1),
    ),
    "crossing, of which those of the parse count": Case(
        "(TOP (S (NP (NN a) (NN b)) (VP (NN c) (NP (NN d) (NN e)))))",
        "(TOP (S (NN a) (X (NN b) (X (NN c) (NN d))) (NN e)))",
        Counted(1, 4, 3, 2, 5, 5),
    ),
    "what punctuation alone parts does not cross": Case(
        "(TOP (S (NP (NN a) (, ,)) (VP (NN b) (NN c))))",
        "(TOP (S (NN a) (NP (, ,) (NN b)) (NN c)))",
        Counted(1, 3, 2, 0, 3, 3),
    ),
    # Where EVALB and we part.
    "roots by other names count": Case(
        "(ROOT (S (NN dog)))",
        "(S1 (S (NN dog)))",
        Counted(1, 2, 2, 0, 1, 1),
        Counted(1, 1, 1, 0, 1, 1),
    ),
    "a word taken for punctuation": Case(
        "(TOP (S (NP (NN dog)) (VP (VBZ barks)) (. .)))",
        "(TOP (S (NP (NN dog)) (: barks) (. .)))",
        1,
        Counted(2, 3, 2, 0, 2, 1),
    ),
    "punctuation taken for a word": Case(
        "(TOP (S (NP (NN dog)) (VP (VBZ barks)) (. .)))",
        "(TOP (S (NP (NN dog)) (VP (VBZ barks)) (NP (XX .))))",
        1,
        Counted(3, 3, 3, 0, 2, 2),
    ),
    "no parse": Case(
        "(TOP (S (NP (NN dog)) (VP (VBZ barks)) (. .)))", "(())", 2, Counted(0, 3, 0, 0, 2, 0)
    ),
    "punctuation alone": Case("(TOP (X (. .)))", "(TOP (X (. .)))", 2, Counted(0, 0, 0, 0, 0, 0)),
    "other words": Case(
        "(TOP (S (NP (NN dog)) (VP (VBZ barks)) (. .)))",
        "(TOP (S (NP (NN dog)) (VP (VBD barked)) (. .)))",
        1,
        "word 2 is 'barked'; wanted 'barks'",
    ),
}
