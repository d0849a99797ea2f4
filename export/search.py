"""Greedy, beam and nucleus search around a network's step, each as one ONNX ``Loop``.

The searches are those of ``hw2_keras.decoding``, ties included. Their bodies refer to the weights
and the encoded source outside of them; only what a step changes is carried. Texts grow inside the
loop, token by token, so that no second loop has to spell them.

In the statements N is the number of sources, K of beams, R = N·K of rows, T_out of steps.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
from onnx import GraphProto, ModelProto

from export.passes import fill_placeholders, parse_model
from export.sources import Target
from export.text import Spelling, spelling, spelling_ids


class State(NamedTuple):
    """What a step changes; a network with the state h has ``first_h`` and a step ``new_h``.

    Attributes:
        name: e.g. "h", an identifier.
        kind: of its values, as ONNX's text says it, e.g. "float" or "int64".
        axes: the sizes of its axes after the first; None for one that may grow.
    """

    name: str
    kind: str
    axes: tuple[int | None, ...]

    def declare(self, rows: str, prefix: str = "") -> str:
        """Its declaration with so many rows, e.g. ``float[R, 128] new_h``."""
        name = f"{prefix}{self.name}"
        sizes = (f"{name}_{i}" if n is None else str(n) for i, n in enumerate(self.axes, 1))
        return f"{self.kind}[{', '.join([rows, *sizes])}] {name}"


class Network(NamedTuple):
    """An encoder-decoder for N sources with T_in positions; a step has R rows, R / N per source.

    Attributes:
        inputs: declarations of what its statements need, the first with N rows.
        encoder: statements from these to the first states and ``before``, once per source.
        repeated: names of values with a row per source that the steps need with a row each;
            ``row_x`` is the name of such rows of x.
        prepare: statements that come before the loop, with R rows.
        step: statements from ``token`` int64 (R,) and the states to ``logits`` (R, V), the new
            states and, with attention, ``look``.
        states: what a step changes.
        look: declaration of the attention, its last axis T_in, e.g. "float[R, T_in] look"; empty
            for a network without attention.
        weights: the constants that the statements name.
        parts: graphs for the statements that are calls of operators of the domain "part".
    """

    inputs: tuple[str, ...]
    encoder: str
    repeated: tuple[str, ...]
    prepare: str
    step: str
    states: tuple[State, ...]
    look: str
    weights: Mapping[str, np.ndarray]
    parts: Mapping[str, GraphProto]

    @property
    def any_rows(self) -> str:
        """The name of a value whose first axis is N."""
        return self.inputs[0].split()[-1]


CONSTANTS = {
    "no_text": np.array("", object),
    "zero": np.float32(0),
    "one": np.float32(1),
    "minus_infinity": np.float32(-np.inf),
    "number_0": np.int64(0),
    "number_1": np.int64(1),
    "axis_0": np.array([0]),
    "axis_1": np.array([1]),
    "axis_2": np.array([2]),
    "last": np.array([-1]),
    "as_row": np.array([-1]),
    "as_column": np.array([-1, 1]),
    "yes": np.bool_(True),
}

ONE_ROW_EACH = """
    rows = Shape <start = 0, end = 1> ({any_rows})
    first_token = Expand (sos, rows)
    all_growing = Expand (yes, rows)
"""


class Choice(NamedTuple):
    """How a search with one row per source takes its tokens.

    Attributes:
        step: statements from ``logits`` (N, V) and the step ``t`` to ``chosen`` (N,).
        kept: what the loop keeps of every step for ``gains``, as declared in the loop.
        all_kept: the name of that after the loop, with T_out as its first axis.
        gains: statements from that to ``gains`` (T_out, N), log-probabilities of the tokens.
    """

    step: str
    kept: str
    all_kept: str
    gains: str


# The largest logit is the most probable token: probabilities can wait until after the loop.
GREEDY = Choice(
    step="""
    chosen = ArgMax <axis = 1, keepdims = 0> (logits)
    """,
    kept="float[N, V] logits",
    all_kept="all_logits",
    gains="""
    log_probabilities = LogSoftmax (all_logits)
    gains = ReduceMax <keepdims = 0> (log_probabilities, axis_2)
    """,
)

# The smallest set of most probable tokens whose mass reaches top_p; `uniforms` picks from it.
NUCLEUS = Choice(
    step="""
    log_probabilities = LogSoftmax (logits)
    probabilities = Exp (log_probabilities)
    falling, order = TopK (probabilities, vocabulary_size)
    mass_before = CumSum <exclusive = 1> (falling, number_1)
    inside = Less (mass_before, top_p)
    nucleus = Where (inside, falling, zero)
    mass = CumSum (nucleus, number_1)
    nucleus_mass = Gather <axis = 1> (mass, last)
    uniform = Gather <axis = 1> (uniforms, t)
    uniform_column = Unsqueeze (uniform, axis_1)
    threshold = Mul (uniform_column, nucleus_mass)
    is_passed = LessOrEqual (mass, threshold)
    passed = Cast <to = 7> (is_passed)
    first_above = ReduceSum (passed, axis_1)
    in_nucleus = Cast <to = 7> (inside)
    nucleus_size = ReduceSum (in_nucleus, axis_1)
    last_inside = Sub (nucleus_size, number_1)
    rank = Min (first_above, last_inside)
    chosen_column = GatherElements <axis = 1> (order, rank)
    gain_column = GatherElements <axis = 1> (log_probabilities, chosen_column)
    chosen = Squeeze (chosen_column, axis_1)
    gain = Squeeze (gain_column, axis_1)
    """,
    kept="float[N] gain",
    all_kept="gains",
    gains="",
)

# Only a growing text ends, so that "exclusive or" is "growing and not at its end".
EXTEND_ONE_EACH = """
    next_token = Where (growing, chosen, pad)
    is_end = Equal (next_token, eos)
    next_growing = Xor (growing, is_end)
    go_on = ReduceMax <keepdims = 0> (next_growing)
"""

# A text's length is the step at which its EOS came, or all steps.
SCORE_ONE_EACH = """
    step_shape = Shape <start = 0, end = 1> (ends)
    last_step = Squeeze (step_shape)
    after_last_step = Add (last_step, number_1)
    step_row = Range (number_1, after_last_step, number_1)
    step_column = Unsqueeze (step_row, axis_1)
    end_steps = Where (ends, step_column, last_step)
    end_step = ReduceMin <keepdims = 0> (end_steps, axis_0)
    in_text = LessOrEqual (step_column, end_step)
    gains_in_text = Where (in_text, gains, zero)
    totals = ReduceSum <keepdims = 0> (gains_in_text, axis_0)
    lengths_found = Cast <to = 1> (end_step)
"""

ATTENTION_ONE_EACH = """
    positions = Shape <start = -1> (looks)
    look_shape = Concat <axis = 0> (step_shape, rows, positions)
    looks_by_step = Reshape (looks, look_shape)
    is_shown = Unsqueeze (in_text, last)
    shown_looks = Where (is_shown, looks_by_step, zero)
    greedy_attention = Transpose <perm = [1, 0, 2]> (shown_looks)
"""

# All hypotheses of a source start equal: only the first may be extended.
K_ROWS_EACH = """
    sources = Shape <start = 0, end = 1> ({any_rows})
    beams = Reshape (num_beams, as_row)
    rows = Mul (sources, beams)
    row_count = Squeeze (rows)
    row_numbers = Range (number_0, row_count, number_1)
    source_of_row = Div (row_numbers, beams)
    beam_of_row = Mod (row_numbers, beams)
    is_first_beam = Equal (beam_of_row, number_0)
    first_total_row = Where (is_first_beam, zero, minus_infinity)
    first_total = Unsqueeze (first_total_row, axis_1)
    first_token = Expand (sos, rows)
    one_column = Concat <axis = 0> (rows, axis_1)
    all_growing = Expand (yes, one_column)
    first_length = Expand (zero, one_column)
    best_of_row = Min (beams, vocabulary_size)
    candidates_per_source = Mul (beams, best_of_row)
    source_count = Squeeze (sources)
    source_numbers = Range (number_0, source_count, number_1)
    first_candidates = Mul (source_numbers, candidates_per_source)
    first_candidate = Unsqueeze (first_candidates, axis_1)
    all_of_source = Concat <axis = 0> (sources, as_row)
    beams_of_source = Concat <axis = 0> (sources, beams)
    candidate_count = Squeeze (best_of_row)
    candidate_numbers = Range (number_0, candidate_count, number_1)
    is_first_candidate = Equal (candidate_numbers, number_0)
    frozen_gains = Where (is_first_candidate, zero, minus_infinity)
"""

# Every row ranks its own tokens first; then the candidates of one source compete. An ended row
# goes on with PAD alone, for nothing.
EXTEND_BEAMS = """
    log_probabilities = LogSoftmax (logits)
    own_gains, own_tokens = TopK (log_probabilities, best_of_row)
    gains = Where (growing, own_gains, frozen_gains)
    tokens = Where (growing, own_tokens, pad)
    totals = Add (total, gains)
    grown_length = Add (length, one)
    lengths = Where (growing, grown_length, length)
    {normalise}
    scores_of_source = Reshape (candidate_scores, all_of_source)
    best_scores, choice = TopK (scores_of_source, beams)
    choice_of_all = Add (choice, first_candidate)
    chosen = Reshape (choice_of_all, as_row)
    row = Div (chosen, best_of_row)
    token_row = Reshape (tokens, as_row)
    next_token = Gather (token_row, chosen)
    total_column = Reshape (totals, as_column)
    next_total = Gather (total_column, chosen)
    next_length = Gather (lengths, row)
    {states}
    was_growing = Gather (growing, row)
    is_end = Equal (next_token, eos)
    is_end_column = Unsqueeze (is_end, axis_1)
    next_growing = Xor (was_growing, is_end_column)
    go_on = ReduceMax <keepdims = 0> (next_growing)
    text_before = Gather (text, row)
"""

# A path holds the row that each of its steps was taken from; the first column is no step.
EXTEND_PATHS = """
    path_before = Gather (path, row)
    row_column = Unsqueeze (row, axis_1)
    next_path = Concat <axis = 1> (path_before, row_column)
"""

ATTENTION_OF_BEST = """
    best_rows = Mul (source_numbers, beams)
    best_path = Gather (paths_found, best_rows)
    step_shape = Shape <start = 0, end = 1> (looks)
    last_step = Squeeze (step_shape)
    steps = Range (number_0, last_step, number_1)
    first_row_of_step = Mul (steps, rows)
    ends_of_path = Shape <start = 1, end = 2> (best_path)
    rows_of_path = Slice (best_path, axis_1, ends_of_path, axis_1)
    look_rows = Add (rows_of_path, first_row_of_step)
    positions = Shape <start = -1> (looks)
    one_look_per_row = Concat <axis = 0> (as_row, positions)
    look_of_row = Reshape (looks, one_look_per_row)
    best_looks = Gather (look_of_row, look_rows)
    best_lengths = Gather (lengths_found, best_rows)
    steps_before = Cast <to = 1> (steps)
    in_text = Less (steps_before, best_lengths)
    is_shown = Unsqueeze (in_text, last)
    beam_attention = Where (is_shown, best_looks, zero)
"""


def search_model(
    network: Network, target: Target, search: str, length_penalty: float, strings: bool = True
) -> ModelProto:
    """The search around a network, from its inputs to texts.

    Args:
        network: statements and weights.
        target: the vocabulary of the output.
        search: "beam" (further inputs ``num_beams`` and ``max_length``, outputs ``text_out``
            (N, num_beams), ``scores`` and, with attention, ``attention`` (N, T_out, T_in)) or
            "nucleus" (further inputs ``top_p`` and ``uniforms``, outputs (N,)).
        length_penalty: exponent of the length by which scores are divided.
        strings: whether texts come out; else ids, ``tokens`` (N, num_beams, T_out), for a sample
            (N, T_out).
    """
    spell = spelling(target) if strings else spelling_ids()
    inputs = list(network.inputs)
    if search == "nucleus":
        inputs += ["float top_p", "float[N, max_length] uniforms"]
        outputs = [f"{spell.found.format(beams='')} {spell.output}", "float[N] scores"]
        statements = nucleus(network, spell, length_penalty)
    else:
        inputs += ["int64 num_beams", "int64 max_length"]
        outputs = results("num_beams", network.look, spell)
        statements = greedy_or_beam(network, spell, length_penalty)
    weights = CONSTANTS | constants_of(target) | spell.weights | network.weights
    weights["length_penalty"] = np.float32(length_penalty)
    model = parse_model(inputs, outputs, network.encoder + statements, weights)
    fill_placeholders(model.graph, network.parts)
    return model


def constants_of(target: Target) -> dict[str, np.ndarray]:
    """The ids of the vocabulary that a search asks for."""
    return {
        "pad": np.int64(target.filler),
        "sos": np.int64(target.start),
        "eos": np.int64(target.end),
        "vocabulary_size": np.array([len(target.tokens)]),
    }


def results(beams: str, look: str, spell: Spelling, prefix: str = "") -> list[str]:
    """Declarations of what a search for ``beams`` texts per source gives."""
    looks = [f"float[N, T_out, T_in] {prefix}attention"] if look else []
    name = f"{prefix}text_out" if prefix else spell.output
    return [
        f"{spell.found.format(beams=f', {beams}')} {name}",
        f"float[N, {beams}] {prefix}scores",
        *looks,
    ]


def greedy_or_beam(network: Network, spell: Spelling, length_penalty: float) -> str:
    """Statements for both: a step of greedy search has half the nodes of a step of one beam."""
    names = ", ".join([spell.output, "scores"] + ["attention"] * bool(network.look))
    return f"""
    is_greedy = Equal (num_beams, number_1)
    {names} = If (is_greedy) <
        then_branch = greedy_search ()
            => ({", ".join(results("1", network.look, spell, "greedy_"))})
        {{
            {one_sequence(network, GREEDY, spell, length_penalty)}
            greedy_text_out = Unsqueeze (text_found, axis_1)
            greedy_scores = Unsqueeze (score, axis_1)
            {ATTENTION_ONE_EACH if network.look else ""}
        }},
        else_branch = beam_search ()
            => ({", ".join(results("num_beams", network.look, spell, "beam_"))})
        {{
            {beam(network, spell, length_penalty)}
        }}
    >
    """


def nucleus(network: Network, spell: Spelling, length_penalty: float) -> str:
    """Statements for a sample of each source."""
    return f"""
    max_length = Shape <start = 1, end = 2> (uniforms)
    {one_sequence(network, NUCLEUS, spell, length_penalty)}
    {spell.output} = Identity (text_found)
    scores = Identity (score)
    """


def one_sequence(network: Network, choice: Choice, spell: Spelling, length_penalty: float) -> str:
    """Statements for a search with one row per source, to ``text_found`` and ``score`` (N,)."""
    names = [state.name for state in network.states]
    found = ["last_token", *(f"last_{name}_found" for name in names), "still_growing"]
    found += ["text_found", "ends", choice.all_kept]
    first = ["first_token", *(f"first_{name}" for name in names), "all_growing", "first_text"]
    before = ["int64[N] token", *(state.declare("N") for state in network.states)]
    before += ["bool[N] growing", spell.kind.format(rows="N", name="text_before")]
    after = ["int64[N] next_token", *(state.declare("N", "new_") for state in network.states)]
    after += ["bool[N] next_growing", spell.kind.format(rows="N", name="next_text")]
    after += ["bool[N] is_end", choice.kept]
    if network.look:
        found, after = [*found, "looks"], [*after, network.look]
    return f"""
    {ONE_ROW_EACH.format(any_rows=network.any_rows)}
    {spell.first}
    {lines(f"row_{name} = Identity ({name})" for name in network.repeated)}
    {lines(f"rows_{name} = Identity (first_{name})" for name in names)}
    {network.prepare}
    {", ".join(found)} = Loop (max_length, yes, {", ".join(first)}) <
        body = step (int64 t, bool going, {", ".join(before)}) => (bool go_on, {", ".join(after)})
        {{
            {network.step}
            {choice.step}
            {EXTEND_ONE_EACH}
            {spell.step}
        }}
    >
    {choice.gains}
    {SCORE_ONE_EACH}
    {normalise("score", "totals", "lengths_found", length_penalty)}
    """


def beam(network: Network, spell: Spelling, length_penalty: float) -> str:
    """Statements for the search with K rows per source."""
    names = [state.name for state in network.states]
    others = "bool[R, 1] {0}growing, float[R, 1] {0}total, float[R, 1] {0}length"
    first = ["first_token", *(f"rows_{name}" for name in names), "all_growing", "first_total"]
    first += ["first_length", "first_text"]
    found = ["last_token", *(f"last_{name}_found" for name in names), "still_growing"]
    found += ["total_found", "lengths_found", "text_found"]
    start, extend, finish = "", "", ""
    before = ["int64[R] token", *(state.declare("R") for state in network.states)]
    before += [others.format(""), spell.kind.format(rows="R", name="text")]
    after = ["int64[R] next_token", *(state.declare("R", "next_") for state in network.states)]
    after += [others.format("next_"), spell.kind.format(rows="R", name="next_text")]
    if network.look:
        start = "first_path = Unsqueeze (row_numbers, axis_1)"
        extend, finish = EXTEND_PATHS, ATTENTION_OF_BEST
        first, found = [*first, "first_path"], [*found, "paths_found", "looks"]
        before += ["int64[R, steps] path"]
        after += ["int64[R, steps_now] next_path", network.look]
    in_step = normalise("candidate_scores", "totals", "lengths", length_penalty)
    gathered = lines(f"next_{name} = Gather (new_{name}, row)" for name in names)
    return f"""
    {K_ROWS_EACH.format(any_rows=network.any_rows)}
    {spell.first}
    {lines(f"row_{name} = Gather ({name}, source_of_row)" for name in network.repeated)}
    {lines(f"rows_{name} = Gather (first_{name}, source_of_row)" for name in names)}
    {network.prepare}
    {start}
    {", ".join(found)} = Loop (max_length, yes, {", ".join(first)}) <
        body = step (int64 t, bool going, {", ".join(before)}) => (bool go_on, {", ".join(after)})
        {{
            {network.step}
            {EXTEND_BEAMS.format(normalise=in_step, states=gathered)}
            {extend}
            {spell.step}
        }}
    >
    {normalise("score", "total_found", "lengths_found", length_penalty)}
    beam_scores = Reshape (score, beams_of_source)
    {spell.last}
    {finish}
    """


def lines(statements: Iterable[str]) -> str:
    return "\n    ".join(statements)


def normalise(score: str, total: str, length: str, length_penalty: float) -> str:
    """Statements for total / length ** length_penalty."""
    if length_penalty == 1:
        return f"{score} = Div ({total}, {length})"
    return f"""
    {score}_divisor = Pow ({length}, length_penalty)
    {score} = Div ({total}, {score}_divisor)
    """
