"""Names that others give to the weights of this network, and which of ours each means. Pure.

A name is read from the left: wrappers are taken off, then the layer, then the part (attention, MLP), and what is
left is looked up. A name that means nothing here is never passed over, but reported: a weight that is left out makes
another network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

_WRAPPERS = r"(?:_orig_mod|module|model|net|network)\."
_OUTER = r"(?:transformer(?:_encoder|_decoder)?|encoder|decoder)\.(?=[^.]+\.)"  # decoder.weight is no wrapper
_UNWRAPPED = re.compile(rf"^(?:{_WRAPPERS}|{_OUTER})+")
_LAYER = re.compile(r"^(?:transformer_?)?(?:blocks?|layers?|h)(?:\.(\d+))?\.(.+)$")
_ATTENTION = re.compile(
    r"^(?:self_?attn|attn|self_?attention|attention|mha|multi_?head_?attn|multihead_attention|sa)\."
)
_MLP = re.compile(r"^(?:mlp|ffn?|feed_?forward|ffwd)\.")

_W, _B = r"(?:\.(?:weight|w))?", r"(?:\.(?:bias|b))"
_PROJ = r"(?:_?(?:proj(?:ection)?|lin(?:ear)?))?"
_EMBED = r"(?:emb(?:ed(?:ding)?s?)?)"
_TOKENS = rf"(?:{_EMBED}|encoder|(?:tok(?:en)?s?|input|word|char)_?{_EMBED}|wte|{_EMBED}_?tok(?:en)?s?)"
_PLACES = rf"(?:pos(?:ition(?:al)?)?s?_?(?:{_EMBED}|enc(?:od(?:ing|er))?)?|{_EMBED}_?pos|wpe)"
_OUTPUT = (
    rf"(?:un{_EMBED}|lm_head|head|out(?:put)?{_PROJ}|out(?:put)?_?(?:layer|head)|fc_?out|read_?out|decoder|classifier"
    rf"|(?:to_)?logits|final{_PROJ})"
)

_TOP = {
    "W_E": rf"w_e|(?:{_EMBED}\.)?{_TOKENS}(?:\.w_e)?{_W}",
    "W_pos": rf"w_pos|(?:{_EMBED}\.)?{_PLACES}(?:\.w_pos|\.pe)?{_W}",
    "W_U": rf"w_u|{_OUTPUT}(?:\.w_u)?{_W}",
    "b_U": rf"b_u|{_OUTPUT}(?:\.b_u|{_B})",
    "ln_final.w": r"ln_final\.w(?:eight)?|(?:ln_?f|norm_?f|final_?(?:layer_?)?norm|norm|ln)\.w(?:eight)?",
    "ln_final.b": r"ln_final\.b(?:ias)?|(?:ln_?f|norm_?f|final_?(?:layer_?)?norm|norm|ln)\.b(?:ias)?",
}


def _of_head(letter: str, word: str) -> dict[str, str]:
    lower = letter.lower()
    stem = rf"(?:w_?{lower}|{lower}{_PROJ}|(?:{word}){_PROJ}|to_{lower}|c_{lower}|(?:proj|lin(?:ear)?)_{lower})"
    return {f"W_{letter}": rf"{stem}{_W}", f"b_{letter}": rf"b_{lower}|{stem}{_B}"}


_IN_ATTENTION = {
    **_of_head("Q", "query|queries"),
    **_of_head("K", "keys?"),
    **_of_head("V", "values?"),
    "W_QKV": rf"in_proj_weight|(?:in_proj|qkv{_PROJ}|c_attn|to_qkv|w_?qkv){_W}",
    "b_QKV": rf"in_proj_bias|(?:in_proj|qkv{_PROJ}|c_attn|to_qkv|w_?qkv){_B}",
}
_ATTENTION_OUT = rf"(?:w_?o|o{_PROJ}|out(?:put)?{_PROJ}|to_out(?:\.0)?|c_proj|proj(?:ection)?|fc_?out|dense)"
_ONLY_IN_ATTENTION = {"W_O": rf"{_ATTENTION_OUT}{_W}", "b_O": rf"b_o|{_ATTENTION_OUT}{_B}"}
_FIRST = r"(?:w_?in|fc_?1|lin(?:ear)?_?1|c_fc|up(?:_proj)?|in(?:put)?_?(?:proj|layer)?|fc_?in|w_?1|dense_?1|hidden)"
_SECOND = (
    r"(?:w_?out|fc_?2|lin(?:ear)?_?2|c_proj|proj|down(?:_proj)?|out(?:put)?_?(?:proj|layer)?|fc_?out|w_?2|dense_?2)"
)
_IN_MLP = {
    "W_in": rf"{_FIRST}{_W}",
    "b_in": rf"b_in|{_FIRST}{_B}",
    "W_out": rf"{_SECOND}{_W}",
    "b_out": rf"b_out|{_SECOND}{_B}",
}
_BARE_OF_MLP = {
    "W_in": rf"w_in|(?:fc_?1|lin(?:ear)?_?1|mlp_?(?:in|1)){_W}",
    "b_in": rf"b_in|(?:fc_?1|lin(?:ear)?_?1|mlp_?(?:in|1)){_B}",
    "W_out": rf"w_out|(?:fc_?2|lin(?:ear)?_?2|mlp_?(?:out|2)){_W}",
    "b_out": rf"b_out|(?:fc_?2|lin(?:ear)?_?2|mlp_?(?:out|2)){_B}",
}
_BARE_OF_ATTENTION = {**_IN_ATTENTION, "W_O": rf"w_?o{_W}|o_proj{_W}|attn_?out{_W}", "b_O": rf"b_o|o_proj{_B}"}
_NORMS = {
    f"ln{n}.{part}": rf"(?:ln|norm|layer_?norm)_?{n}\.{part}(?:{rest})?" for n in (1, 2) for part, rest in
    (("w", "eight"), ("b", "ias"))
}  # fmt: skip
_NUMBERED = re.compile(r"^(?:(?:net|layers|seq|model|mlp|fc)\.)?(\d+)\.(weight|bias)$")

BUFFERS = re.compile(
    r"(?:^|\.)(?:mask|causal_mask|attn_mask|tril|ignore|masked_bias|inv_freq|position_ids|pos_ids)$", re.IGNORECASE
)
"""No weights: what a network keeps beside them."""


@dataclass(frozen=True)
class Named:
    """One tensor of a file under the name that it has there."""

    theirs: str
    tensor: Tensor


@dataclass
class Meanings:
    """A state dict by our names; those of a layer with its number before them, "0.W_Q".

    Attributes:
        buffers: names of what is no weight.
        unknown: what could not be placed.
        twice: pairs of names that mean the same weight.
    """

    of: dict[str, Named] = field(default_factory=dict)
    buffers: list[str] = field(default_factory=list)
    unknown: list[Named] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)

    def add(self, ours: str, named: Named) -> None:
        if ours in self.of:
            self.twice.append(f"{self.of[ours].theirs} and {named.theirs} both look like {ours}")
        else:
            self.of[ours] = named


def meanings(tensors: Mapping[str, Tensor], given: Mapping[str, str]) -> Meanings:
    """What each tensor is; `given` (our name -> theirs) decides before any rule does."""
    found = Meanings()
    stated = {theirs.removesuffix(".T"): internal(ours) for ours, theirs in given.items()}
    numbered: dict[str, list[tuple[int, str, Named]]] = {}
    for name, tensor in tensors.items():
        named = Named(name, tensor)
        if name in stated:
            found.add(stated[name], named)
        elif BUFFERS.search(name) or (name.endswith("attn.bias") and tensor.ndim > 2):
            found.buffers.append(name)
        elif (at := _numbered(name)) is not None:
            numbered.setdefault(at[0], []).append((at[1], at[2], named))
        elif (ours := meaning(name)) is not None:
            found.add(ours, named)
        else:
            found.unknown.append(named)
    _place_numbered(numbered, found)
    return found


def meaning(name: str) -> str | None:
    """Our name of a tensor called so; None where it means nothing here."""
    layer, rest = _layer_of(name)
    if (inside := _ATTENTION.sub("", rest)) != rest:
        return _looked_up(inside, layer, {**_IN_ATTENTION, **_ONLY_IN_ATTENTION})
    if (inside := _MLP.sub("", rest)) != rest:
        return _looked_up(inside, layer, _IN_MLP)
    if layer is None and (ours := _looked_up(rest, None, _TOP)):
        return ours
    return _looked_up(rest, layer, {**_BARE_OF_ATTENTION, **_BARE_OF_MLP, **_NORMS})


def internal(ours: str) -> str:
    """Our name as used here: "0.W_Q" for W_Q and blocks.0.W_Q."""
    ours = ours.removeprefix("blocks.")
    return ours if ours in _TOP or ours.partition(".")[0].isdigit() else f"0.{ours}"


def _layer_of(name: str) -> tuple[int | None, str]:
    rest = _UNWRAPPED.sub("", name.lower())
    if found := _LAYER.match(rest):
        return int(found[1] or 0), found[2]
    return None, rest


def _looked_up(name: str, layer: int | None, table: Mapping[str, str]) -> str | None:
    for ours, pattern in table.items():
        if re.fullmatch(pattern, name):
            return f"{layer or 0}.{ours}" if _is_of_a_layer(ours) else ours
    return None


def _is_of_a_layer(ours: str) -> bool:
    return ours not in _TOP


def _numbered(name: str) -> tuple[str, int, str] | None:
    """Layer, place and kind of a matrix or bias of an nn.Sequential: mlp.0.weight."""
    layer, rest = _layer_of(name)
    inside = _MLP.sub("", rest)
    if inside != rest and (found := _NUMBERED.match(inside)):
        return str(layer or 0), int(found[1]), found[2]
    return None


def _place_numbered(numbered: Mapping[str, list[tuple[int, str, Named]]], found: Meanings) -> None:
    """Of an nn.Sequential the first linear layer is W_in, the second W_out; more than two are another network."""
    for layer, items in numbered.items():
        places = sorted({place for place, _, _ in items})
        for place, kind, named in items:
            if len(places) == 2:
                which = "in" if place == places[0] else "out"
                found.add(f"{layer}.{'W' if kind == 'weight' else 'b'}_{which}", named)
            else:
                found.unknown.append(named)
