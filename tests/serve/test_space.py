"""Words as points: the same word is at one place until the model is told where it stands."""

import numpy as np
import pytest

from aiayn.errors import UserError
from aiayn.serve.space import in_three_dimensions, pieces, space
from tests.support.models import MODEL, TOKENIZER
from tests.support.served import translator, writer

EGG, CHICKEN = "one two three four", "four two three one"


@pytest.fixture(scope="module")
def served():
    return translator()


def test_the_same_words_in_another_order_differ_by_their_positions_alone(served):
    found = space(served, [EGG, CHICKEN])
    names = [stage.name for stage in found.stages]
    assert names == ["embedding", "+ position", "layer 1", "layer 2"]
    # The same pieces, so each has its twin.
    assert len(found.twins) == len(found.tokens[0]) == len(found.tokens[1])
    for twin in found.twins:
        assert twin.distances[0] == 0
        assert (twin.distances[1] == 0) == (twin.first == twin.second)
        assert min(twin.distances[2:]) > 1e-3

    without = space(served, [EGG, CHICKEN], positions=False)
    for twin in without.twins:
        assert max(twin.distances) < 1e-5, "attention alone knows no order"


def test_texts_of_different_lengths_have_the_twins_that_both_have(served):
    # "one two one" and "two one five": the second "one" of the first text has no partner.
    found = space(served, ["one two one", "two one five"])
    first, second = ([token.id for token in tokens] for tokens in found.tokens)
    assert len(first) != len(found.stages[0].places[1])
    pairs = [(twin.first, twin.second) for twin in found.twins]
    assert all(first[a] == second[b] for a, b in pairs)
    shared = sum(min(first.count(n), second.count(n)) for n in set(first))
    assert len(pairs) == len(set(pairs)) == shared < len(first)
    assert {b for _, b in pairs} <= set(range(len(second)))


def test_a_causal_model_knows_an_order_without_positions():
    found = space(writer(), [EGG, CHICKEN], positions=False)
    assert found.tokens[0][0].piece == "<s>"
    assert max(twin.distances[-1] for twin in found.twins) > 1e-3


def test_distances_are_those_of_all_dimensions(served):
    # Sinusoids by hand: sin and cos of pos / 10000^(2i/d) for the places of one twin.
    found = space(served, [EGG, CHICKEN])
    twin = next(each for each in found.twins if each.first != each.second)

    def wave(place):
        angles = place / 10_000 ** (np.arange(MODEL.d_model // 2) * 2 / MODEL.d_model)
        return np.concatenate([np.sin(angles), np.cos(angles)])

    wanted = np.linalg.norm(wave(twin.first) - wave(twin.second))
    assert twin.distances[1] == pytest.approx(wanted, rel=1e-5)


def test_neighbours_are_the_nearest_by_cosine(served):
    found = space(served, [EGG])
    assert found.twins == []
    table = np.asarray(served.translator.params["embedding"])[: TOKENIZER.num_words]
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    token, near = found.tokens[0][0], found.neighbours[0][0]
    cosines = unit @ unit[token.id]
    others = np.delete(cosines, [token.id, 0, 1, 2, 3])
    np.testing.assert_allclose([each.cosine for each in near], np.sort(others)[::-1][:8], rtol=1e-5)
    assert [cosines[each.id] for each in near] == pytest.approx([each.cosine for each in near])


def test_three_dimensions_are_those_of_most_variance():
    # Variances 9, 4, 1 and 0.25 along four axes of a turned box.
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    box = np.array([[s * side for s, side in zip(signs, (3, 2, 1, 0.5), strict=True)]
                    for signs in np.ndindex(2, 2, 2, 2)]) * 2  # fmt: skip
    box = (box - box.mean(axis=0)) / 1.0
    places, share = in_three_dimensions((box @ turn + 7).astype(np.float32))
    assert share == pytest.approx((9 + 4 + 1) / 14.25, rel=1e-5)
    for axis in range(3):
        wanted = box[:, axis] * np.sign(places[0, axis] * box[0, axis])
        np.testing.assert_allclose(places[:, axis], wanted, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_words_than_dimensions_lie_in_a_line_or_a_point(count):
    places, share = in_three_dimensions(np.eye(count, 4, dtype=np.float32))
    assert places.shape == (count, 3)
    assert share == pytest.approx(1.0)
    np.testing.assert_allclose(places[:, 1:], 0, atol=1e-6)  # but for rounding


def test_the_whole_table_in_three_dimensions(served):
    found = pieces(served)
    assert len(found.pieces) == len(found.places) == TOKENIZER.num_words
    assert 0 < found.share < 1


def test_no_text_and_three_are_refused(served):
    with pytest.raises(UserError, match="There are 3 texts; wanted one or two"):
        space(served, ["one"] * 3)
    with pytest.raises(UserError, match="The text has 0 tokens"):
        space(served, ["one", ""])
