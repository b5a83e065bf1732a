"""What theory says about each family of architectures: what it can represent, and what it cannot.

The statements are about networks of fixed size and finite precision on sequences of any length. Whether training finds
a solution is another question, which the benchmark answers. A statement about one architecture is in `NOTES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from arch.core.layer import Family


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyText:
    """The description of one family."""

    title: str
    form: str
    """What the architectures of the family have in common."""
    can: tuple[str, ...]
    """What they can represent, one statement each, with its source."""
    cannot: tuple[str, ...]
    """What they cannot represent, one statement each, with its source."""


FAMILIES: Mapping[Family, FamilyText] = {
    "nonlinear": FamilyText(
        title="Nonlinear recurrences",
        form=(
            "The next state is a nonlinear function of the input and of the state as a whole. Steps must be computed "
            "one after the other, also in training."
        ),
        can=(
            "With learned recurrent weights: follow any finite automaton, so parity, counting modulo n, products in "
            "groups that do not commute. One step can permute the states of the automaton in any way (Minsky 1967; "
            "Merrill et al. 2020).",
            "With an unbounded additive cell, as in an LSTM, or with relu units: count (Weiss, Goldberg & Yahav 2018).",
        ),
        cannot=(
            "Keep more than the state holds. A string of n random symbols, or n key-value pairs, needs a state that "
            "grows with n (Jelassi et al. 2024; Arora et al. 2024).",
            "Without gates, keep gradients over long distances: they vanish or explode exponentially (Hochreiter 1991; "
            "Bengio, Simard & Frasconi 1994).",
        ),
    ),
    "diagonal": FamilyText(
        title="Diagonal linear recurrences",
        form=(
            "Each channel is multiplied by a factor and added to: h' = a ⊙ h + b. Channels do not mix within the "
            "recurrence, so a parallel scan can compute all steps, and h is a decaying sum of past inputs."
        ),
        can=(
            "With a factor that the input chooses: keep a value for any time, reset it, and with several layers follow "
            "every star-free automaton, such as a flip-flop (Sarrof, Veitsman & Hahn 2024).",
            "With factors down to -1 that the input chooses: parity, because a 1 changes the sign and a 0 keeps it "
            "(Sarrof, Veitsman & Hahn 2024; Grazzi et al. 2025).",
        ),
        cannot=(
            "With factors in [0, 1]: parity, at any depth. A product of such factors only falls (Sarrof, Veitsman & "
            "Hahn 2024).",
            "With real factors: count modulo 3, even if factors are negative. This needs transitions that are not "
            "triangular, or complex factors (Grazzi et al. 2025).",
            "Multiply in groups that are not solvable, such as S5, unless the circuit classes TC⁰ and NC¹ are equal: "
            "diagonal matrices commute, and the whole network lies in TC⁰ (Merrill, Petty & Sabharwal 2024).",
            "Keep more than the state holds, as all architectures with a state of fixed size (Jelassi et al. 2024).",
        ),
    ),
    "matrix": FamilyText(
        title="Matrix memories",
        form=(
            "Each head keeps a matrix that a key and a value are written into and a query reads: S' = transition(S) + "
            "key × value. At width H with N heads, the state has H² / N numbers, or more if keys are wider."
        ),
        can=(
            "Recall: as many pairs per head as there are keys that do not overlap, at most the width of a key. The "
            "delta rule first removes what a key returned, so a new value replaces the old one (Schlag, Irie & "
            "Schmidhuber 2021; Arora et al. 2024).",
            "With a transition I - β k kᵀ and β up to 2: reflect the memory, which gives parity. Products of several "
            "such factors permute it, and follow any finite automaton (Grazzi et al. 2025; Siems et al. 2025).",
        ),
        cannot=(
            "Without a decay or correction: forget. Old pairs disturb new ones once keys overlap (Schlag, Irie & "
            "Schmidhuber 2021).",
            "With a transition that is a positive decay alone, scalar or per key: parity, as for positive diagonal "
            "recurrences (Grazzi et al. 2025; Merrill, Petty & Sabharwal 2024).",
            "With β in (0, 1), so that the eigenvalues of I - β k kᵀ lie in (0, 1]: parity (Grazzi et al. 2025).",
            "Recall more pairs than the matrix has room for, at any number of steps (Jelassi et al. 2024).",
        ),
    ),
    "attention": FamilyText(
        title="Attention",
        form=(
            "Nothing is compressed: keys and values of past steps stay in a cache, and each step reads all of them, or "
            "those within a window. State and cost of a step grow with the number of steps read."
        ),
        can=(
            "Recall and copy at any distance within the cache, with two layers: an induction head finds what followed "
            "the last occurrence of a symbol (Olsson et al. 2022; Jelassi et al. 2024).",
        ),
        cannot=(
            "Track a state without recurrence: the number of sequential operations is the depth, whatever the length. "
            "The network lies in TC⁰, which is believed to exclude products in S5 (Merrill & Sabharwal 2023).",
            "Represent parity robustly: one input's influence on a softmax falls with the length (Hahn 2020).",
            "With a window: read anything older than depth × window steps.",
        ),
    ),
    "convolution": FamilyText(
        title="Convolution",
        form=(
            "Each output is a function of the last R inputs, the receptive field. The state is these inputs, in ring "
            "buffers. Dilated layers make R grow exponentially with the depth."
        ),
        can=("Represent any function of the last R inputs, with short paths for gradients (Bai et al. 2018).",),
        cannot=(
            "Depend on anything older than R steps, however simple: no parity, no flip-flop, no recall beyond it. A "
            "longer memory needs more layers, a longer filter or a larger dilation.",
        ),
    ),
}
"""The families, in the order in which documents list them."""

NOTES: Mapping[str, str] = {
    "rnn": "A saturating unit forgets within some steps unless its recurrent weights are near an isometry.",
    "lstm": (
        "The cell adds without bound, so an LSTM can count; a forget gate of 1 carries a value and its gradient over "
        "any distance (Weiss, Goldberg & Yahav 2018)."
    ),
    "gru": (
        "The state is an average of candidates in (-1, 1), so a GRU cannot count without bound (Weiss, Goldberg & "
        "Yahav 2018)."
    ),
    "slstm": (
        "Heads mix their units by recurrent weights, so it can track states that `mlstm` cannot (Beck et al. 2024)."
    ),
    "esn": (
        "The recurrent weights are not learned. The memory fades, and a linear readout can recover at most as many "
        "past inputs as there are units (Jaeger 2001)."
    ),
    "min_gru": (
        "Gates depend on the input alone. The factors 1 - z lie in (0, 1), so no parity; `signed=True` allows factors "
        "down to -1."
    ),
    "min_lstm": "Gates depend on the input alone. The normalised forget gate lies in (0, 1), so no parity.",
    "ind_rnn": (
        "The recurrence is nonlinear, but each unit sees only itself: a monotone map that the input shifts. No unit "
        "can swap two values at one symbol and keep them at another."
    ),
    "lru": (
        "The complex factors do not depend on the input. A phase counts steps modulo n, but no symbols, and one layer "
        "cannot keep or reset a value on demand."
    ),
    "s4d": (
        "The complex factors do not depend on the input, so a layer is a long convolution. It counts steps modulo n, "
        "but cannot select what to keep."
    ),
    "mamba": (
        "The input chooses Δ, and the factors exp(Δ A) lie in (0, 1): selection and reset, but no parity. "
        "`negative=True` allows factors down to -1."
    ),
    "rg_lru": "The factors lie in (0, 1) and depend on the input: selection and reset, but no parity.",
    "linear_attention": "It only adds: nothing is forgotten, and the normaliser averages over all steps.",
    "ret_net": "Each head forgets at its own fixed rate, whatever the input.",
    "gla": "The input chooses a decay in (0, 1) per key: selective forgetting, but no parity.",
    "mamba2": "The input chooses one decay in (0, 1) per head: selective forgetting, but no parity.",
    "delta_net": (
        "With the defaults, β in (0, 1) and one factor per token: exact replacement, but no parity. `negative=True` "
        "gives an eigenvalue down to -1, and with `householders=n` a token can permute n + 1 entries."
    ),
    "gated_delta_net": (
        "It replaces as `delta_net` does, and also forgets all at once. With the defaults, β in (0, 1), there is no "
        "parity. `negative=True` and `householders=n` act as in `delta_net`."
    ),
    "mlstm": "Gates are scalars per head and positive, and do not see the state: large recall, but no parity.",
    "rwkv7": (
        "The transition is a diagonal minus an outer product, which is neither diagonal nor symmetric. Its eigenvalues "
        "are real and lie in (-0.46, 1), so no parity at every length (Grazzi et al. 2025). Twice the outer product, "
        "which this layer does not have, would recognise every regular language (Peng et al. 2025)."
    ),
    "transformer": "`window` bounds state and cost, and with them the distance.",
    "hybrid": "Recurrent layers track states, attention layers recall: the stack can do what either part can.",
    "tcn": "R follows from the filter, the dilations and the depth.",
}
"""Remarks on single architectures by name. A name need not exist, and an architecture needs no remark."""


def sources_of_theory() -> tuple[str, ...]:
    """Return the papers that `FAMILIES` and `NOTES` cite, in alphabetical order."""
    from arch.core.description.docstrings import citations

    texts = [text for family in FAMILIES.values() for text in (family.form, *family.can, *family.cannot)]
    return tuple(sorted(citations(*texts, *NOTES.values())))
