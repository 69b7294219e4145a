"""The losses against naive loops, and their gradients."""

import math

import numpy as np
import pytest
import scipy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mlcl import config
from mlcl.objectives import Objective, ProjectionHead, contrast, divergence, unit


def naive_contrast(z, labels, temperature):
    """Khosla et al. 2020, eq. 2, term by term."""
    total, z = 0.0, z.detach()
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        positives = [p for p in others if labels[p] == labels[i]]
        if not positives:
            continue
        denominator = sum(math.exp(float(z[i] @ z[a]) / temperature) for a in others)
        terms = [math.log(math.exp(float(z[i] @ z[p]) / temperature) / denominator) for p in positives]
        total += -sum(terms) / len(positives)
    return total / len(z)


def rows(*shape, seed=0):
    """Random unit rows [*shape, D]."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(*shape, generator=generator, dtype=torch.float64), dim=-1)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=10), st.sampled_from([0.07, 0.1, 0.5]))
def test_contrast_equals_the_naive_loop(labels, temperature):
    z = rows(3, len(labels), 5, seed=len(labels))  # levels first
    ours = contrast(z, torch.tensor(labels), temperature)
    naive = [naive_contrast(level, labels, temperature) for level in z]
    assert ours.tolist() == pytest.approx(naive, rel=1e-9)


def test_contrast_with_one_label_an_image_is_nt_xent():
    z, n, temperature = rows(8, 5), 4, 0.1
    ours = contrast(z[None], torch.arange(n).repeat(2), temperature)
    # Chen et al. 2020, eq. 1, with view i + n as the positive of view i.
    similarity = z @ z.T / temperature
    similarity.fill_diagonal_(-torch.inf)
    assert float(ours) == pytest.approx(float(F.cross_entropy(similarity, (torch.arange(8) + n) % 8)), rel=1e-9)


@pytest.mark.parametrize("labels", [[0, 1, 2, 0, 1, 2], [0, 0, 1, 0, 0, 1], [0, 1, 2, 3, 4, 4]])
def test_contrast_gradient(labels):
    z = rows(2, 6, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: contrast(z, torch.tensor(labels), 0.3), z)


def test_contrast_is_computed_in_float32_under_autocast():
    z = rows(2, 16, 8).float()
    labels = torch.arange(8).repeat(2)
    with torch.autocast("cpu", torch.bfloat16):
        inside = contrast(z, labels, 0.07)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, contrast(z, labels, 0.07))


def test_projections_and_divergences_are_in_float32_under_autocast():
    logits, target = (torch.randn(8, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    with torch.autocast("cpu", torch.bfloat16):
        assert unit(ProjectionHead(5, 4)(logits)).dtype == torch.float32
        inside = divergence(logits.bfloat16(), target.bfloat16(), 3.0)
    assert float(inside) == float(divergence(logits.bfloat16().float(), target.bfloat16().float(), 3.0))


def test_a_low_temperature_does_not_overflow():
    z, labels = rows(8, 5), torch.arange(4).repeat(2)
    ours = contrast(z.float()[None], labels, 0.005)
    assert float(ours) == pytest.approx(naive_contrast(z, labels, 0.005), rel=1e-4)


def test_contrast_without_any_positive_is_zero_and_has_a_finite_gradient():
    z = rows(1, 4, 3).requires_grad_()
    loss = contrast(z, torch.arange(4), 0.1)
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.isfinite(z.grad).all()


def objective(dims=(3, 4), **spec):
    torch.manual_seed(0)
    return Objective(config.Objective(**spec), dims=list(dims), classes=5).double().requires_grad_(False)


def test_objective_is_the_weighted_sum_over_levels():
    loss = objective(cross_entropy=0.5, contrast="supcon", levels={1: 0.25, 2: 2.0}, temperature=0.2)
    levels, labels = [torch.randn(8, 3).double(), torch.randn(8, 4).double()], torch.tensor([0, 1, 0, 2])
    parts = loss(levels, labels)
    both = [0, 1, 0, 2] * 2
    z = [unit(loss.heads[str(k)](levels[k - 1])) for k in (1, 2)]
    expected = 0.25 * naive_contrast(z[0], both, 0.2) + 2 * naive_contrast(z[1], both, 0.2)
    log_p = loss.classifier(levels[1]).log_softmax(1)
    expected += 0.5 * -sum(float(log_p[i, y]) for i, y in enumerate(both)) / 8
    assert float(parts["loss"]) == pytest.approx(expected, rel=1e-6)
    assert set(parts) == {"loss", "cross_entropy", "accuracy", "level1", "level2"}
    assert float(parts["accuracy"]) == pytest.approx(np.mean(log_p.argmax(1).numpy() == both))


def test_the_projection_head_is_two_layers_with_relu():
    torch.manual_seed(0)
    head = ProjectionHead(6, 4).double().requires_grad_(False)
    first, second = head[0], head[2]
    x = torch.randn(5, 6).double()
    hidden = np.maximum(x.numpy() @ first.weight.numpy().T + first.bias.numpy(), 0)
    out = hidden @ second.weight.numpy().T + second.bias.numpy()
    np.testing.assert_allclose(head(x).numpy(), out, rtol=1e-9)
    np.testing.assert_allclose(unit(head(x)).numpy(), out / np.linalg.norm(out, axis=1, keepdims=True), rtol=1e-9)


def test_deep_supervision_adds_the_cross_entropy_of_earlier_levels():
    loss = objective(cross_entropy=0.5, deep_supervision={1: 2.0}, contrast="supcon", levels={2: 1.0})
    plain = objective(cross_entropy=0.5, contrast="supcon", levels={2: 1.0})
    plain.load_state_dict(loss.state_dict(), strict=False)
    levels, labels = [torch.randn(8, 3).double(), torch.randn(8, 4).double()], torch.tensor([0, 1, 0, 2])
    parts = loss(levels, labels)
    logits = loss.early["1"](levels[0]).numpy()
    early = -sum(scipy.special.log_softmax(logits, 1)[i, y] for i, y in enumerate([0, 1, 0, 2] * 2)) / 8
    assert float(parts["cross_entropy_level1"]) == pytest.approx(early, rel=1e-9)
    assert float(parts["loss"]) == pytest.approx(float(plain(levels, labels)["loss"]) + 2 * early, rel=1e-9)


def test_self_distillation_teaches_earlier_levels_what_the_last_one_says():
    deep = {"cross_entropy": 0.5, "deep_supervision": {1: 2.0, 2: 0.3}, "contrast": "supcon", "levels": {3: 1.0}}
    loss = objective((3, 4, 5), **deep, self_distillation={"weight": 0.25, "temperature": 3.0})
    plain = objective((3, 4, 5), **deep)
    plain.load_state_dict(loss.state_dict())
    levels, labels = [torch.randn(8, d).double().requires_grad_() for d in (3, 4, 5)], torch.tensor([0, 1, 0, 2])
    parts, without = loss(levels, labels), plain(levels, labels)
    value = {name: part.item() for name, part in parts.items()}
    logits = [m(x).detach().numpy() for m, x in zip([*loss.early.values(), loss.classifier], levels, strict=True)]
    *ours, theirs = (scipy.special.softmax(x / 3, 1) for x in logits)
    divergence = [9 * scipy.special.rel_entr(theirs, p).sum(1).mean() for p in ours]
    assert value["self_distillation"] == pytest.approx(2 * divergence[0] + 0.3 * divergence[1], rel=1e-9)
    expected = without["loss"].item()
    for level, weight in {1: 2.0, 2: 0.3}.items():
        expected += 0.25 * weight * (divergence[level - 1] - value[f"cross_entropy_level{level}"])
    assert value["loss"] == pytest.approx(expected, rel=1e-9)
    # The last level teaches and does not learn from it.
    gradient, untaught = (torch.autograd.grad(made["loss"], levels[2])[0] for made in (parts, without))
    torch.testing.assert_close(gradient, untaught, rtol=1e-9, atol=0)


def test_distillation_is_the_divergence_from_the_teacher():
    spec = {"teacher": "other", "weight": 0.25, "temperature": 3.0}
    loss = objective(cross_entropy=0.5, contrast="supcon", levels={1: 2.0}, distillation=spec)
    plain = objective(cross_entropy=0.5, contrast="supcon", levels={1: 2.0})
    levels, labels = [torch.randn(8, 3).double(), torch.randn(8, 4).double()], torch.tensor([0, 1, 0, 2])
    target = torch.randn(8, 5).double()
    parts = loss(levels, labels, target)
    ours, theirs = (scipy.special.softmax(x / 3, 1) for x in (loss.classifier(levels[1]).numpy(), target.numpy()))
    divergence = 9 * scipy.special.rel_entr(theirs, ours).sum(1).mean()
    assert float(parts["distillation"]) == pytest.approx(divergence, rel=1e-9)
    expected = 0.75 * float(plain(levels, labels)["loss"]) + 0.25 * divergence
    assert float(parts["loss"]) == pytest.approx(expected, rel=1e-9)
    assert float(loss(levels, labels, loss.classifier(levels[1]))["distillation"]) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kind", ["simclr", "supcon"])
def test_objective_gradient(kind):
    spec = objective(cross_entropy=1.0, contrast=kind, levels={1: 0.5, 2: 1.0})
    labels = torch.tensor([0, 1, 1])
    levels = [torch.randn(6, d, dtype=torch.float64, requires_grad=True) for d in (3, 4)]
    assert torch.autograd.gradcheck(lambda *x: spec(list(x), labels)["loss"], levels)


def test_simclr_ignores_the_labels_and_supcon_does_not():
    levels = [torch.randn(8, 3).double(), torch.randn(8, 4).double()]
    one, other = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 2, 3])
    simclr, supcon = (objective(contrast=kind, levels={2: 1.0}, temperature=0.2) for kind in ("simclr", "supcon"))
    z = unit(simclr.heads["2"](levels[1]))
    assert float(simclr(levels, one)["loss"]) == pytest.approx(naive_contrast(z, [0, 1, 2, 3] * 2, 0.2), rel=1e-6)
    assert float(simclr(levels, one)["loss"]) == float(simclr(levels, other)["loss"])
    assert float(supcon(levels, one)["loss"]) != float(supcon(levels, other)["loss"])


def test_two_views_an_image_are_required():
    with pytest.raises(ValueError, match="two views"):
        objective(cross_entropy=1.0)([torch.randn(4, 3).double(), torch.randn(4, 4).double()], torch.zeros(4).long())
