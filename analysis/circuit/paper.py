"""The paper's mainline, by the names of `values`: what each number of ours is put beside. Pure.

Nanda et al. 2023 (p = 113, 30 % of the pairs, 40,000 steps): losses over all pairs. Values read out of its vector
figures are within 1-2 %. What depends on which frequencies a network has chosen is put beside the paper's range.
"""

from __future__ import annotations

MAINLINE: dict[str, float | str] = {
    "key_freqs": "14, 35, 41, 42, 52",
    "all_loss": 2.4122e-7,
    "train_loss": 9.94e-8,
    "test_loss": 3.02e-7,
    "restricted_loss": 5.54e-8,
    "restricted_loss_train": 5.39e-8,
    "excluded_loss": 5.97,
    "fve_logits": 0.95,
    "fit_loss": 4.7e-8,
    "W_L_residual": "< .0055",
    "frac_neurons_85": 0.846,
    "u_fve.*": ".932 to .974",
    "v_fve.*": ".935 to .982",
    "u_coefficient.*": "44 to 68",
    "attn_fve.*": ".979 to .991",
    "attn_to_equals.*": ".001 to .004",
    "sum_sq_weights": 955,
    "sum_sq.W_E": 164,
    "sum_sq.W_pos": 7.6,
    "sum_sq.W_K": 12.9,
    "sum_sq.W_Q": 13.1,
    "sum_sq.W_V": 148,
    "sum_sq.W_O": 148,
    "sum_sq.W_in": 155,
    "sum_sq.b_in": 0.17,
    "sum_sq.W_out": 156,
    "sum_sq.b_out": 0.04,
    "sum_sq.W_U": 150,
    "ablation.restricted": 5.54e-8,
    "ablation.restricted_3x3": 7.24e-8,
    "ablation.excluded.train": 5.97,
    "ablation.excluded_3d.train": 6.53,
    "ablation.excluded.*.train": "2.8e-4 to .072",
    "ablation.fit": 4.7e-8,
    "ablation.neurons_fitted": 2.48e-7,
    "ablation.neurons_without.*": "2.0e-4 to .024",
    "ablation.mlp_on_W_L": 1.19e-7,
    "ablation.mlp_off_W_L": 5.27,
    "ablation.skip_zero": 9.12e-7,
    "ablation.skip_mean": 7.25e-7,
    "ablation.heads_zero": 24.3,
    "ablation.attn_skip_zero": 19.1,
    "ablation.attn_linear": 2.12e-7,
}
"""A star stands for any frequency, or any head."""


def beside(name: str) -> float | str | None:
    """The mainline's value of this name."""
    return MAINLINE.get(".".join("*" if part.isdigit() else part for part in name.split(".")))
