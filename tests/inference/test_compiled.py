"""The engine compile; torch's compiler itself takes a minute, and runs in a single test."""

import pytest
import torch

from hf_zhclip.inference import compiled
from hf_zhclip.inference.compiled import Compiled, CompiledModel
from hf_zhclip.inference.fused import Product, fuse

from tests.small_models import build, images, texts


@pytest.fixture
def calls(monkeypatch):
    """A compiler that notes what it is given, and translates nothing."""
    noted = []

    def compile_(encode, **options):
        noted.append(options)
        return encode

    monkeypatch.setattr(torch, "compile", compile_)
    return noted


def test_it_gives_the_vectors_of_the_model_and_tells_what_it_compiles_once(calls, capsys):
    model = CompiledModel(fuse(build("cn_clip").double(), Product))
    own = build("cn_clip").double()
    for count in (3, 2, 1, 1):
        found = model.encode_image(pixel_values=images(count).double())
        assert (found - own.encode_image(images(count).double())).abs().max() < 1e-12
    told = capsys.readouterr().err
    assert told.count("Compiling for pictures, once for all batches") == 1
    assert told.count("Compiling for pictures, once for single rows") == 1
    assert calls == [{"options": {"freezing": True}}] * 2


def test_rows_and_lengths_are_free_in_a_graph_but_a_single_row_is_not(monkeypatch, calls):
    free = []
    monkeypatch.setattr(torch._dynamo, "maybe_mark_dynamic", lambda tensor, number: free.append(number))
    model = CompiledModel(fuse(build("cn_clip"), Product))
    model.encode_text(input_ids=texts(build("cn_clip")))
    assert free == [0, 1]
    model.encode_text(input_ids=texts(build("cn_clip"))[:1])
    assert free == [0, 1, 1]
    model.encode_image(pixel_values=images(2))
    assert free == [0, 1, 1, 0]


def test_a_tower_of_packed_products_is_not_compiled_and_another_tower_is(calls, capsys):
    model = CompiledModel(fuse(build("cn_clip_rn50")))
    assert isinstance(model.encode_image, Compiled)
    if not isinstance(model.encode_text, Compiled):  # where oneDNN packs
        assert "Nothing is compiled for texts: the engine torch is faster" in capsys.readouterr().err


def test_where_the_compiler_does_not_work_the_tower_runs_as_it_is_and_one_word_says_so(monkeypatch, capsys):
    def failing(encode, **options):
        def call(**inputs):
            raise RuntimeError("no C++ compiler\nand a long trace")

        return call

    monkeypatch.setattr(torch, "compile", failing)
    model = CompiledModel(fuse(build("cn_clip").double(), Product))
    wanted = build("cn_clip").double().encode_image(images().double())
    for _ in range(2):
        assert (model.encode_image(pixel_values=images().double()) - wanted).abs().max() < 1e-12
    told = capsys.readouterr().err
    assert told.count("torch.compile does not work here (no C++ compiler); going on with the engine torch") == 1
    assert "trace" not in told


def test_an_error_of_the_tower_itself_is_not_blamed_on_the_compiler(calls, capsys):
    model = CompiledModel(fuse(build("cn_clip").double(), Product))
    with pytest.raises((RuntimeError, ValueError)):
        model.encode_image(pixel_values=torch.zeros(2, 3, 5, 5).double())
    assert "torch.compile does not work" not in capsys.readouterr().err
    model.encode_image(pixel_values=images().double())
    assert not model.encode_image._failed


@pytest.mark.thorough
def test_a_compiled_tower_makes_no_new_graph_for_another_number_of_rows(capsys):
    model = CompiledModel(fuse(build("cn_clip").double(), Product))
    own = build("cn_clip").double()
    with torch.inference_mode():
        torch._dynamo.utils.counters.clear()
        for count in (4, 3, 2, 7):
            found = model.encode_image(pixel_values=images(count).double())
            assert (found - own.encode_image(images(count).double())).abs().max() < 1e-9
    told = capsys.readouterr().err
    assert compiled._FAILED.partition("(")[0] not in told
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.thorough
def test_the_models_of_a_process_do_not_take_each_other_s_graphs(monkeypatch):
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda encode, **_: compile_(encode, backend="eager"))
    dtypes = (torch.float64, torch.float32, torch.bfloat16)
    models = [CompiledModel(fuse(build("cn_clip").to(dtype), Product)) for dtype in dtypes]
    with torch.inference_mode():
        torch._dynamo.utils.counters.clear()
        for model in models:
            for count in (2, 1):
                model.encode_image(pixel_values=images(count).to(model.dtype))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2 * len(models) > compiled.MOST_GRAPHS
