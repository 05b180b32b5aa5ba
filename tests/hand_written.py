"""Networks of this family as others write them, with torch's own modules: their state dicts are what is to be read.

Each computes logits at "=" by its own forward pass, so that a file read back can be held against it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

P, D_MODEL, N_HEADS, D_MLP = 13, 24, 3, 17


def tokens(p: int = P) -> Tensor:
    """[a, b, "="] of every pair."""
    pairs = torch.cartesian_prod(torch.arange(p), torch.arange(p))
    return torch.cat([pairs, torch.full((len(pairs), 1), p)], 1)


class Mlp(nn.Module):
    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(D_MODEL, D_MLP, bias), nn.Linear(D_MLP, D_MODEL, bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.relu(self.fc1(x)))


class Attention(nn.Module):
    """Four linear layers of the heads side by side."""

    def __init__(self, bias: bool, d_head: int = D_MODEL // N_HEADS) -> None:
        super().__init__()
        width = N_HEADS * d_head
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(D_MODEL, width, bias) for _ in range(3))
        self.o_proj = nn.Linear(width, D_MODEL, bias)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (f(x).unflatten(-1, (N_HEADS, -1)).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj))
        pattern = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        return self.o_proj((pattern @ v).transpose(1, 2).flatten(-2))


class FourLinears(nn.Module):
    """embed.weight, attn.q_proj.weight, mlp.fc1.weight, unembed.weight."""

    def __init__(self, bias: bool = False, d_head: int = D_MODEL // N_HEADS, n_out: int = P) -> None:
        super().__init__()
        self.embed, self.pos_embed = nn.Embedding(P + 1, D_MODEL), nn.Embedding(3, D_MODEL)
        self.attn, self.mlp = Attention(bias, d_head), Mlp()
        self.unembed = nn.Linear(D_MODEL, n_out, bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.pos_embed(torch.arange(3))
        x = x + self.attn(x)
        return self.unembed(x + self.mlp(x))[:, -1]


class TorchAttention(nn.Module):
    """nn.MultiheadAttention (in_proj_weight), an nn.Sequential, positions as a parameter [1, 5, d_model]."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(P + 1, D_MODEL)
        self.pos_embedding = nn.Parameter(torch.randn(1, 5, D_MODEL))
        self.attn = nn.MultiheadAttention(D_MODEL, N_HEADS, bias=bias, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(D_MODEL, D_MLP), nn.ReLU(), nn.Linear(D_MLP, D_MODEL))
        self.head = nn.Linear(D_MODEL, P + 1, bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.token_embedding(x) + self.pos_embedding[:, :3]
        x = x + self.attn(x, x, x, need_weights=False)[0]
        return self.head(x + self.mlp(x))[:, -1]


class Gpt(nn.Module):
    """GPT-2's names, transformer.h.0.attn.c_attn.weight, in nn.Linear layers."""

    def __init__(self, bias: bool = False) -> None:
        super().__init__()
        attn = nn.ModuleDict(
            {"c_attn": nn.Linear(D_MODEL, 3 * D_MODEL, bias), "c_proj": nn.Linear(D_MODEL, D_MODEL, bias)}
        )
        mlp = nn.ModuleDict({"c_fc": nn.Linear(D_MODEL, D_MLP), "c_proj": nn.Linear(D_MLP, D_MODEL)})
        block = nn.ModuleDict({"attn": attn, "mlp": mlp})
        self.transformer = nn.ModuleDict(
            {"wte": nn.Embedding(P + 1, D_MODEL), "wpe": nn.Embedding(3, D_MODEL), "h": nn.ModuleList([block])}
        )
        self.lm_head = nn.Linear(D_MODEL, P, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        part = self.transformer
        x = part["wte"](x) + part["wpe"](torch.arange(3))
        block = part["h"][0]
        q, k, v = (t.unflatten(-1, (N_HEADS, -1)).transpose(1, 2) for t in block["attn"]["c_attn"](x).chunk(3, -1))
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        causal = scores.masked_fill(~torch.ones(3, 3).bool().tril(), -torch.inf).softmax(-1)
        x = x + block["attn"]["c_proj"]((causal @ v).transpose(1, 2).flatten(-2))
        return self.lm_head(x + block["mlp"]["c_proj"](torch.relu(block["mlp"]["c_fc"](x))))[:, -1]


LAYOUTS = {
    "four linear layers": (FourLinears, {}),
    "biases everywhere": (FourLinears, {"bias": True}),
    "heads narrower than the stream": (FourLinears, {"bias": True, "d_head": 5, "n_out": P + 1}),
    "nn.MultiheadAttention": (TorchAttention, {}),
    "nn.MultiheadAttention without biases": (TorchAttention, {"bias": False}),
    "GPT-2's names": (Gpt, {}),
    "GPT-2's names with biases": (Gpt, {"bias": True}),
}


def made(layout: str) -> nn.Module:
    """The network of this layout, every parameter drawn, biases and all, in float64."""
    kind, settings = LAYOUTS[layout]
    network = kind(**settings).double()
    draws = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws, dtype=torch.float64) / math.sqrt(D_MODEL))
    return network
