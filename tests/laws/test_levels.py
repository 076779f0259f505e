"""What holds at every noise level."""

import math

import pytest
import torch

from boot_exp.diffusion.levels import Level, carry, diffuse, implied_signal, noise, over, signal, transition

LAM = torch.linspace(-6, 6, 41, dtype=torch.float64)
X0, EPS = torch.randn((2, 41, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_variance_is_preserved() -> None:
    level = Level(lam=LAM)
    torch.testing.assert_close(level.alpha**2 + level.sigma**2, torch.ones_like(LAM), rtol=1e-14, atol=0)
    torch.testing.assert_close(-torch.log(level.alpha / level.sigma), LAM, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(level.alpha**2 / level.sigma**2, level.snr, rtol=1e-12, atol=0)


def test_signal_and_noise_undo_diffuse() -> None:
    level = Level(lam=LAM)
    x_t = diffuse(level, X0, EPS)
    torch.testing.assert_close(signal(level, x_t, EPS), X0, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(noise(level, x_t, X0), EPS, rtol=1e-9, atol=1e-9)


def test_transition_composes() -> None:
    later, earlier = Level(lam=LAM[1:]), Level(lam=LAM[:-1])
    alpha, sigma = transition(later, earlier)
    torch.testing.assert_close(alpha * earlier.alpha, later.alpha, rtol=1e-12, atol=0)
    torch.testing.assert_close((alpha * earlier.sigma) ** 2 + sigma**2, later.sigma**2, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("gap", [0.1, 1.0, 5.0])
def test_implied_signal_undoes_carry(gap: float) -> None:
    t, s = Level(lam=LAM), Level(lam=LAM - gap)
    x_t = diffuse(t, X0, EPS)
    other = X0.flip(0)
    torch.testing.assert_close(implied_signal(carry(other, x_t, t, s), x_t, t, s), other, rtol=1e-8, atol=1e-8)


def test_carry_moves_the_signal_by_the_exact_coefficient() -> None:
    """y_s = y_t + (1 - exp(lam_s - lam_t)) (f - y_t), the DDIM step of the signal-ODE."""
    t, s = Level(lam=LAM), Level(lam=LAM - 0.7)
    x_t, f = diffuse(t, X0, EPS), X0.flip(0)
    y_s = signal(s, carry(f, x_t, t, s), EPS)
    torch.testing.assert_close(y_s, X0 + over(1 - torch.exp(s.lam - t.lam), X0) * (f - X0), rtol=1e-8, atol=1e-8)


def test_over_keeps_the_precision_of_what_it_multiplies() -> None:
    assert (over(LAM, X0.float()) * X0.float()).dtype == torch.float32


def test_pure_noise_is_a_level_from_which_all_that_is_needed_is_exact() -> None:
    """lam = inf: x_t is eps, and the step to a level keeps it; the signal is what a step of the whole way gives it."""
    t, s = Level(lam=torch.full_like(LAM, math.inf)), Level(lam=LAM)
    assert bool((t.alpha == 0).all() and (t.sigma == 1).all() and (t.snr == 0).all())
    x_t = diffuse(t, X0, EPS)
    assert torch.equal(x_t, EPS) and torch.equal(noise(t, x_t, X0), EPS)
    x_s = carry(X0, x_t, t, s)
    torch.testing.assert_close(x_s, diffuse(s, X0, EPS), rtol=0, atol=0)
    torch.testing.assert_close(signal(s, x_s, EPS), X0, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(implied_signal(x_s, x_t, t, s), X0, rtol=1e-9, atol=1e-9)
    alpha, sigma = transition(t, s)
    assert bool((alpha == 0).all() and (sigma == 1).all())
