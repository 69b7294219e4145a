from functools import partialmethod

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F

from mlcl import config, encoders
from mlcl.errors import UserError

GREY = ([0.5], [0.25])
RGB = ([0.5, 0.4, 0.3], [0.25, 0.25, 0.25])


@pytest.mark.parametrize("name", ["conv4", "resnet12"])
def test_every_level_is_returned(name):
    spec = config.Encoder(name=name, width=4)
    encoder = encoders.Encoder(spec, *RGB)
    vectors = encoder(torch.rand(2, 3, 84, 84))
    assert [tuple(m.shape[-2:]) for m in encoder.maps(torch.rand(2, 3, 84, 84))] == [
        (42, 42),
        (21, 21),
        (10, 10),
        (5, 5),
    ]
    assert len(vectors) == len(spec.levels)
    assert [tuple(v.shape) for v in vectors] == [(2, dim) for dim in encoder.dims]


def test_a_channel_that_is_the_same_in_all_images_is_nothing():
    """As of fluorescence, green alone."""
    encoder = encoders.Encoder(config.Encoder(width=4), [0.0, 0.4, 0.0], [0.0, 0.2, 0.0]).eval()
    images = torch.zeros(2, 3, 16, 16)
    images[:, 1] = torch.rand(2, 16, 16)
    assert all(vectors.isfinite().all() for vectors in encoder(images))


def norm(x, module):
    return F.batch_norm(x, module.running_mean, module.running_var, module.weight, module.bias)


def naive(encoder, images):
    """Every level's map, in the order of operations of the papers, by functions alone."""
    x, maps = (images - encoder.mean) / encoder.std, []
    if encoder.spec.name == "conv4":
        for convolution, after in encoder.network.blocks:
            x = F.max_pool2d(F.relu(norm(F.conv2d(x, convolution.weight, padding=1), after)), 2)
            maps.append(x)
        return maps
    for stage in encoder.network.stages:
        (a, b, c), (p, q, r), (across, after) = stage.convs, stage.norms, stage.shortcut
        y = F.leaky_relu(norm(F.conv2d(x, a.weight, padding=1), p), 0.1)
        y = F.leaky_relu(norm(F.conv2d(y, b.weight, padding=1), q), 0.1)
        y = norm(F.conv2d(y, c.weight, padding=1), r) + norm(F.conv2d(x, across.weight), after)
        x = F.max_pool2d(F.leaky_relu(y, 0.1), 2)
        maps.append(x)
    return maps


@pytest.mark.parametrize("name", ["conv4", "resnet12"])
def test_maps_are_the_papers(name):
    torch.manual_seed(0)
    encoder = encoders.Encoder(config.Encoder(name=name, width=4), *RGB).double().eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.running_mean, module.bias):
                torch.nn.init.normal_(values)
            for values in (module.running_var, module.weight):
                torch.nn.init.uniform_(values, 0.5, 2)
    images = torch.rand(2, 3, 48, 48).double()
    with torch.no_grad():
        for ours, theirs in zip(encoder.maps(images), naive(encoder, images), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_resnet12_is_the_fields():
    encoder = encoders.Encoder(config.Encoder(name="resnet12", width=64), *RGB)
    assert encoder.dims == [64, 160, 320, 640]
    # RFS's encoder with its linear head over 64 classes has 12,465,344 weights.
    weights = sum(p.numel() for p in encoder.parameters())
    assert weights + 64 * 640 + 64 == 12_465_344


def test_pooling_on_a_grid_flattens_its_cells():
    spec = config.Encoder(name="conv4", width=4, pool=2)
    encoder = encoders.Encoder(spec, *GREY)
    images = torch.rand(3, 1, 32, 32)
    encoder.eval()
    maps, vectors = encoder.maps(images), encoder(images)
    assert encoder.dims == [16] * 4
    assert all(v.shape == (3, 16) for v in vectors)
    assert maps[0].shape == (3, 4, 16, 16)
    assert torch.allclose(vectors[0][1, 4:8], maps[0][1, :, :8, 8:].mean((1, 2)))  # the cell in the upper right


def test_every_level_has_its_own_cells():
    spec = config.Encoder(name="conv4", width=4, pool=[3, 2, 2, 1], pooling=["max", "max", "average", "average"])
    encoder = encoders.Encoder(spec, *GREY).eval()
    images = torch.rand(3, 1, 32, 32)
    maps, vectors = encoder.maps(images), encoder(images)
    assert encoder.dims == [v.shape[1] for v in vectors] == [36, 16, 16, 4]
    assert torch.equal(vectors[1][1, 4:8], maps[1][1, :, :4, 4:].amax((1, 2)))
    assert torch.allclose(vectors[2][1, 4:8], maps[2][1, :, :2, 2:].mean((1, 2)))
    assert torch.allclose(vectors[3], maps[3].mean((2, 3)))


def test_drop_block_drops_in_training_only():
    encoder = encoders.Encoder(config.Encoder(name="resnet12", width=2, drop_block=0.5), *RGB)
    images = torch.rand(4, 3, 84, 84)
    encoder.eval()
    assert torch.equal(encoder(images)[-1], encoder(images)[-1])
    encoder.train()
    assert not torch.equal(encoder(images)[-1], encoder(images)[-1])
    maps = encoder.maps(images)
    assert (maps[1] != 0).all()
    assert (maps[2] == 0).any()
    assert (maps[3] == 0).any()


@pytest.mark.parametrize(("side", "size"), [(21, 5), (5, 5), (4, 3), (3, 3), (1, 1)])
def test_drop_block_drops_squares_of_five(side, size):
    torch.manual_seed(0)
    kept = encoders.DropBlock(0.02).train()(torch.ones(400, 1, side, side))
    for rows in (kept, kept.mT):
        gone = (rows == 0).int()
        # The shortest row of dropped pixels is one square wide; several squares may lie beside each other.
        runs = [len(run) for row in gone.flatten(0, 2).tolist() for run in "".join(map(str, row)).split("0") if run]
        assert min(runs) == size


@pytest.mark.parametrize("spec", [{"name": "conv4"}, {"name": "resnet12"}, {"name": "resnet12", "branches": True}])
def test_weights_begin_as_he_et_al_have_them(spec):
    """Kaiming's normal distribution by the outputs, as the field's ResNet-12 begins."""
    torch.manual_seed(0)
    for module in encoders.Encoder(config.Encoder(width=16, **spec), *RGB).modules():
        if isinstance(module, torch.nn.Conv2d) and module.weight.numel() > 400:
            outputs = module.out_channels * module.kernel_size[0] ** 2
            assert module.weight.std().item() == pytest.approx((2 / 1.0001 / outputs) ** 0.5, rel=0.1)


@pytest.mark.parametrize("side", [16, 28, 32, 48])
def test_drop_block_fits_small_maps(side):
    encoder = encoders.Encoder(config.Encoder(name="resnet12", width=2, drop_block=0.1), *RGB).train()
    assert all(vectors.isfinite().all() for vectors in encoder(torch.rand(4, 3, side, side)))


def test_a_saved_encoder_comes_back(tmp_path):
    encoder = encoders.Encoder(config.Encoder(width=4), *GREY).eval()
    path = tmp_path / "model.safetensors"
    encoders.save(encoder, path, {"seed": 3})
    again, made_by = encoders.load(path)
    images = torch.rand(2, 1, 32, 32)
    assert made_by == {"seed": 3}
    assert all(torch.equal(a, b) for a, b in zip(encoder(images), again(images), strict=True))
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_others_may_read_a_checkpoint_where_they_may_read_files(tmp_path):
    encoder, plain = encoders.Encoder(config.Encoder(width=4), [0.5], [0.2]), tmp_path / "plain"
    encoders.save(encoder, tmp_path / "model.safetensors", {})
    plain.touch()
    assert (tmp_path / "model.safetensors").stat().st_mode == plain.stat().st_mode


def test_a_saved_classifier_comes_back(tmp_path):
    encoder, classifier = encoders.Encoder(config.Encoder(width=4), *GREY), torch.nn.Linear(4, 7)
    encoders.save(encoder, tmp_path / "without", {})
    encoders.save(encoder, tmp_path / "with", {"seed": 3}, classifier)
    assert encoders.load_with_classifier(tmp_path / "without")[1] is None
    again, linear, made_by = encoders.load_with_classifier(tmp_path / "with")
    representation = torch.rand(5, 4)
    assert torch.equal(linear(representation), classifier(representation))
    images = torch.rand(2, 1, 16, 16)
    assert torch.equal(again(images)[-1], encoders.load(tmp_path / "without")[0](images)[-1])
    assert made_by == {"seed": 3}


def test_a_truncated_checkpoint_is_named(tmp_path):
    path = tmp_path / "model.safetensors"
    encoders.save(encoders.Encoder(config.Encoder(width=4), *GREY), path, {})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model\.safetensors: is no readable checkpoint.*train it again"):
        encoders.load(path)
    with pytest.raises(UserError, match="nowhere"):
        encoders.load(tmp_path / "nowhere")


@pytest.mark.parametrize("about", ["{}", "{", "3"])
def test_a_checkpoint_that_says_nothing_of_itself_is_named(tmp_path, about):
    safetensors.torch.save_file({"mean": torch.zeros(1)}, tmp_path / "model.safetensors", {"mlcl": about})
    with pytest.raises(UserError, match=r"model\.safetensors: is no readable checkpoint"):
        encoders.load(tmp_path / "model.safetensors")


def test_a_checkpoint_of_another_version_is_named(tmp_path):
    method = config.Method(encoder={"width": 4}, objective={"cross_entropy": 1}, training={}).model_dump(mode="json")
    path = tmp_path / "model.safetensors"
    assert encoders.recipe({"method": method}, path).encoder.width == 4
    method["objective"]["bygone"] = 1
    with pytest.raises(UserError, match=r"model\.safetensors: was trained by another version .*\(objective\.bygone\)"):
        encoders.recipe({"method": method}, path)


@pytest.mark.parametrize("name", sorted(config.LEVELS))
def test_the_config_knows_how_many_levels_there_are(name):
    spec = config.Encoder(name=name, width=2)
    assert len(encoders.build(spec, 3).channels) == len(spec.levels)


@pytest.mark.parametrize("name", ["conv4", "resnet12"])
def test_branches_bring_every_level_to_the_width_of_the_last(name):
    plain, spec = config.Encoder(name=name, width=2), config.Encoder(name=name, width=2, branches=True)
    images = torch.rand(3, 1, 44, 44)
    torch.manual_seed(0)
    trunk = encoders.Encoder(plain, *GREY).eval()
    torch.manual_seed(0)
    encoder = encoders.Encoder(spec, *GREY).eval()
    assert encoder.dims == trunk.dims[-1:] * 4
    assert [v.shape for v in encoder(images)] == [(3, trunk.dims[-1])] * 4
    # 44 -> 22, 11, 5, 2 by the trunk, which rounds down; a branch rounds up.
    assert [m.shape[-1] for m in encoder.maps(images)] == [3, 3, 3, 2]
    assert torch.equal(encoder(images)[-1], trunk(images)[-1])
    level3 = trunk.maps(images)[2]
    convolution, after, _ = encoder.network.branches[2][0]
    halved = F.leaky_relu(norm(F.conv2d(level3, convolution.weight, stride=2, padding=1), after), 0.1)
    assert torch.allclose(encoder.maps(images)[2], halved, atol=1e-6)


def test_what_a_gpu_runs_compiled_is_one_program_for_each_size_and_gives_the_same(monkeypatch):
    """Traced, differentiated and run as it is: to make code for it takes a CPU minutes."""
    spec = config.Encoder(name="resnet12", width=4, branches=True, drop_block=0.1)
    encoder = encoders.Encoder(spec, *RGB).train()
    images = [torch.rand(4, 3, side, side) for side in (32, 48)]

    def results(some):
        torch.manual_seed(1)  # of what DropBlock drops
        encoder.zero_grad()
        vectors = encoder(some)
        torch.cat(vectors, 1).square().sum().backward()
        return [*vectors, *(parameter.grad for parameter in encoder.parameters())]

    plain = [results(some) for some in images]
    whole = partialmethod(nn.Module.compile, backend="aot_eager", fullgraph=True)  # raises where it finds two programs
    monkeypatch.setattr(nn.Module, "compile", whole)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    encoder.compile_network()
    torch.testing.assert_close([results(some) for some in images], plain)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
    with torch.compiler.set_stance("force_eager"):  # as the validation has it
        encoder.eval()(images[0])
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
    torch._dynamo.reset()
