"""Shapes of entries, places as an input, and the process that reads tokenizers."""

import io
import json

import numpy as np
import onnx
import pytest
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE, WordLevel

from commc import entries, positions, reference, tokenizer
from commc.generators import gpt2, llama

CONFIG = {"hidden": 32, "heads": 4, "layers": 1, "cache": True, "vocab": 40}


def test_shapes_of_an_entry(tmp_path):
    model = llama.build(llama.Config(**CONFIG, kv_heads=2, position_ids=True), tmp_path)
    shapes = {name: array.shape for name, array in entries.arrays_for(model, 3, 5).items()}
    assert shapes == {"input_ids": (1, 3), "attention_mask": (1, 8), "position_ids": (1, 3),
                      "past_key_values.0.key": (1, 2, 5, 8), "past_key_values.0.value": (1, 2, 5, 8)}


def test_open_dimensions_are_asked_for(tmp_path, capsys):
    path = llama.build(llama.Config(**CONFIG, kv_heads=2), tmp_path)
    model = onnx.load(path)
    for port in model.graph.input[2:]:
        port.type.tensor_type.shape.dim[3].dim_param = "kv_cache_dim"
    onnx.save(model, path)
    assert entries.main([str(path), "-o", str(tmp_path / "shapes")]) == 2
    assert "--dim kv_cache_dim=SIZE" in capsys.readouterr().err
    assert entries.main([str(path), "--tokens=1,2", "--dim", "kv_cache_dim=8", "-o", str(tmp_path / "shapes")]) == 0
    assert [word.rpartition("/")[2] for word in capsys.readouterr().out.split()] == ["tokens_1.npz", "tokens_2.npz"]
    (tmp_path / "genai_config.json").write_text(json.dumps({"model": {"decoder": {"head_size": 8}}}))
    assert entries.arrays_for(path, 1, 5)["past_key_values.0.key"].shape == (1, 2, 5, 8)
    assert entries.main([str(path), "--tokens=0", "-o", str(tmp_path / "shapes")]) == 2
    assert entries.arrays_for(path, 1, 5, shared=True)["attention_mask"].shape == (1, 5)
    assert entries.main([str(path), "--tokens=6", "--past=5", "--shared", "-o", str(tmp_path / "shapes")]) == 2


def test_places_become_an_input(tmp_path):
    """The same numbers with the same places; other places, other numbers."""
    path = llama.build(llama.Config(**CONFIG, kv_heads=2), tmp_path)
    call = llama.make_inputs(llama.Config(**CONFIG, kv_heads=2), batch=1, sequence=4)[0]
    assert positions.main([str(path), "-o", str(tmp_path / "new.onnx")]) == 0
    want = reference.run(path, call)["logits"]
    same = reference.run(tmp_path / "new.onnx", {**call, "position_ids": np.arange(4)[None]})["logits"]
    np.testing.assert_array_equal(same, want)
    other = reference.run(tmp_path / "new.onnx", {**call, "position_ids": np.array([[0, 2, 4, 8]])})["logits"]
    assert np.abs(other - want).max() > 0.01


def test_places_that_are_there_or_are_not_counted(tmp_path, capsys):
    given = gpt2.build(gpt2.Config(**CONFIG, position_ids=True), tmp_path / "given")
    assert positions.main([str(given), "-o", str(tmp_path / "new.onnx")]) == 2
    assert "has an input position_ids" in capsys.readouterr().err
    masked = llama.build(llama.Config(**CONFIG, group_query=True, head_dim=16, kv_heads=2), tmp_path / "masked")
    assert positions.main([str(masked), "-o", str(tmp_path / "new.onnx")]) == 2
    assert "nothing to replace" in capsys.readouterr().err


@pytest.fixture
def folder(tmp_path):
    Tokenizer(WordLevel({"one": 0, "two": 1, "</s>": 2, "?": 3}, unk_token="?")).save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def talk(monkeypatch, capsys, path, *requests):
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in requests)))
    code = tokenizer.main([str(path)])
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_tokenizer_answers(folder, monkeypatch, capsys):
    code, said = talk(monkeypatch, capsys, folder, {"encode": "two"}, {"append": 1}, {"begin": [0]}, {"append": 1}, {"end": True}, "no json\n", {"x": 1})
    assert code == 0 and said[0] == {"vocab": 4, "eos": []} and said[1] == {"ids": [1]}
    assert "error" in said[2] and said[3] == {} and said[4]["text"].strip() == "two" and said[5] == {"text": ""}
    assert "error" in said[6] and "error" in said[7]


def test_tokenizer_that_is_no_tokenizer(folder, monkeypatch, capsys):
    assert "there is no file" in talk(monkeypatch, capsys, folder / "nothing")[1][0]["error"]
    (folder / "tokenizer.json").write_text("{}")
    code, said = talk(monkeypatch, capsys, folder)
    assert code == 1 and "cannot be read" in said[0]["error"]


def test_characters_of_several_tokens():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    ids = made.encode("aé €").ids
    for prompt in ("", "x", "é", "a longer prompt with €"):
        text = tokenizer.Text(made, made.encode(prompt).ids)
        assert [text.append(i) for i in ids] == ["a", "", "é", " ", "", "", "€"] and text.end() == ""
        text = tokenizer.Text(made, made.encode(prompt).ids)
        assert "".join(text.append(i) for i in ids[:-1]) == "aé " and text.end() == "\ufffd"
    # Bytes that are no text hold nothing back once text follows.
    text = tokenizer.Text(made, made.encode("x").ids)
    assert [text.append(i) for i in (ids[1], ids[1], ids[0])] == ["", "", "\ufffd\ufffda"]


@pytest.mark.parametrize("files, expected", [
    ({"generation_config.json": {"eos_token_id": [1, 2]}, "genai_config.json": {"model": {"eos_token_id": 3}}}, [1, 2]),
    ({"genai_config.json": {"model": {"eos_token_id": 3}}, "config.json": {"eos_token_id": 0}}, [3]),
    ({"genai_config.json": {"model": 5}, "config.json": {"eos_token_id": 0}}, [0]),
    ({"generation_config.json": {"eos_token_id": None}, "tokenizer_config.json": {"eos_token": "</s>"}}, [2]),
    ({"special_tokens_map.json": {"eos_token": {"content": "</s>"}}}, [2]),
    ({"tokenizer_config.json": {"eos_token": "unheard of"}, "generation_config.json": [1]}, []),
])
def test_end_tokens(folder, files, expected):
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    assert tokenizer.end_tokens(folder, Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id) == expected
