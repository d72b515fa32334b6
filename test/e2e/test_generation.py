"""commrun --generate: the text is what ONNX Runtime continues with, token for token. Oracle: ONNX Runtime with a cache that grows."""

import json
import os
import shutil
import signal
import subprocess

import pytest
from command_line import commc, commrun, one_error
from harness import first_tier
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from commc import entries, positions, reference, tools
from commc.generators import bert, gpt2, llama
from commc.tools import EXIT

PAST, PROMPT, COUNT = 40, [3, 200, 17, 4, 99, 120, 121], 30
SIZES = {"hidden": 64, "heads": 4, "layers": 2}
FAMILIES = {
    "insert": (llama, llama.Config(**SIZES, kv_heads=2, cache=True, group_query=True)),
    "append": (llama, llama.Config(**SIZES, kv_heads=2, cache=True, position_ids=True)),
    "learned": (gpt2, gpt2.Config(**SIZES, cache=True, position_ids=True)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("generation")


@pytest.fixture(scope="module")
def build(folder, home):
    """(model, executable) of a family for so many ranks; entries of one and four tokens."""
    made = {}

    def make(family, ranks=1, tokens=(1, 4), past=PAST, shared=False):
        module, config = FAMILIES[family]
        model = folder / family / "model.onnx"
        if not model.exists():
            module.build(config, model.parent)
        key = (family, ranks, tokens, past, shared)
        if key not in made:
            made[key] = folder / f"{family}-{len(made)}.commx"
            tools.compile_model(model, made[key], ranks, entries.write(model, tokens, past, folder / f"shapes-{len(made)}", shared=shared))
        return model, made[key]

    return make


@pytest.fixture(scope="module")
def tokenizer(folder):
    """Every byte is a token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    (folder / "tokenizer").mkdir()
    made.save(str(folder / "tokenizer" / "tokenizer.json"))
    return folder / "tokenizer", made


def ids(prompt):
    return "--prompt-ids=" + ",".join(map(str, prompt))


def generated(executable, *flags, prompt=PROMPT, count=COUNT):
    done = commrun(executable, "--generate", ids(prompt), f"--max-tokens={count}", "--json", *flags)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_equals_onnx_runtime(build, family, ranks):
    model, executable = build(family, ranks)
    facts = generated(executable)
    assert facts["ids"] == reference.greedy(model, PROMPT, COUNT)
    assert len(set(facts["ids"])) > 1
    assert facts["ranks"] == ranks and facts["stopped_by"] == "max tokens" and facts["prompt_ids"] == PROMPT
    assert facts["time_to_first_token_ms"] > 0 and facts["tokens_per_s"] > 0 and facts["prompt_tokens_per_s"] > 0


# However a prompt is split over entries, with and without room for a past, the text is the same.
@pytest.mark.parametrize("family", ["insert", "append"])
@pytest.mark.parametrize("tokens", [(1,), (1, 2, 16)])
def test_entries_only_split_the_prompt(build, family, tokens):
    model, executable = build(family, tokens=tokens)
    assert generated(executable)["ids"] == reference.greedy(model, PROMPT, COUNT)


# New tokens take slots of the past: the last one that fits fills it.
@pytest.mark.parametrize("ranks", [1, 2])
def test_cache_in_place(build, ranks):
    model, executable = build("insert", ranks, past=16, shared=True)
    facts = generated(executable)
    assert facts["stopped_by"] == "cache full" and facts["ids"] == reference.greedy(model, PROMPT, 16 - len(PROMPT) + 1)


def test_room_ends_the_text(build):
    """Eight tokens of past and a new one: two of the prompt, seven more, and the one that they give."""
    model, executable = build("append", tokens=(1,), past=8)
    facts = generated(executable, prompt=PROMPT[:2])
    assert facts["stopped_by"] == "cache full" and facts["ids"] == reference.greedy(model, PROMPT[:2], 8)
    done = commrun(executable, "--generate", ids(PROMPT[:2]))
    assert done.returncode == 0 and "the cache is full with 9 tokens" in done.stderr
    text = one_error(commrun(executable, "--generate", ids(PROMPT * 2)), "usage")
    assert "the prompt has 14 tokens" in text and "room for 9" in text
    _, fours = build("append", tokens=(4,))
    assert generated(fours, prompt=PROMPT[:4])["stopped_by"] == "no entry takes a single token"
    assert "the prompt has 7 tokens" in one_error(commrun(fours, "--generate", ids(PROMPT)), "usage")


def test_sampling_has_a_seed(build):
    _, executable = build("insert")
    flags = ("--temperature=1.5", "--top-k=50", "--top-p=0.95")
    texts = [generated(executable, *flags, f"--seed={seed}")["ids"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert generated(executable, "--temperature=1", "--top-k=1")["ids"] == generated(executable)["ids"]


def test_text_in_text_out(build, tokenizer):
    model, executable = build("append", 2)
    path, made = tokenizer
    prompt = "Hé €"
    expected = reference.greedy(model, made.encode(prompt).ids, COUNT)
    flags = ("--generate", f"--prompt={prompt}", "--tokenizer", path, f"--max-tokens={COUNT}")
    done = commrun(executable, *flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout == made.decode(expected) + "\n"
    assert f"{len(made.encode(prompt).ids)} + {COUNT} tokens" in done.stderr and "tokens/s" in done.stderr and "ended: max tokens" in done.stderr
    assert commrun(executable, *flags, "--quiet").stderr == ""
    assert json.loads(commrun(executable, *flags, "--json").stdout)["text"] == made.decode(expected)
    # Without a tokenizer: numbers.
    done = commrun(executable, "--generate", ids(made.encode(prompt).ids), f"--max-tokens={COUNT}")
    assert done.stdout.strip() == ",".join(map(str, expected))


def test_end_tokens_and_stop_texts(build, tokenizer, tmp_path):
    model, executable = build("append")
    path, made = tokenizer
    prompt = made.encode("some words").ids
    expected = reference.greedy(model, prompt, COUNT)
    last = next(i for i in range(5, COUNT) if expected[i] not in expected[:i])
    facts = generated(executable, f"--eos=255,{expected[last]}", prompt=prompt)
    assert facts["ids"] == expected[:last] and facts["stopped_by"] == f"end token {expected[last]}"
    for name, content in (("generation_config.json", {"eos_token_id": [expected[last]]}), ("genai_config.json", {"model": {"eos_token_id": expected[last]}}),
                          ("tokenizer_config.json", {"eos_token": {"content": made.id_to_token(expected[last])}})):
        own = tmp_path / name.split(".")[0]
        own.mkdir()
        made.save(str(own / "tokenizer.json"))
        (own / name).write_text(json.dumps(content))
        assert generated(executable, "--tokenizer", own, prompt=prompt)["ids"] == expected[:last], name
        assert generated(executable, "--tokenizer", own / "tokenizer.json", "--ignore-eos", prompt=prompt)["ids"] == expected
    text = made.decode(expected)
    word = next(text[i:i + 2] for i in range(8, len(text) - 2) if "\ufffd" not in text[i:i + 2])
    facts = generated(executable, "--tokenizer", path, "--stop", "no such text", "--stop", word, prompt=prompt)
    assert facts["text"] == text[:text.index(word)] and facts["stopped_by"] == "stop text"


def test_interrupt_ends_the_text(build):
    _, executable = build("append", 2)
    command = [str(tools.find("commrun")), str(executable), "--generate", ids(PROMPT[:1]), "--max-tokens=30", "--link", "1Gbit,100ms"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0)
    try:
        first = process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == EXIT["interrupted"]
    assert first.isdigit() and (first + out).endswith("\n") and "ended: interrupted" in err and len((first + out).split(",")) < 30


@pytest.mark.parametrize("flags, word", [
    (["--generate"], "one of --prompt and --prompt-ids"),
    (["--generate", "--prompt=x"], "needs --tokenizer"),
    (["--generate", "--prompt-ids=1", "--stop=x"], "needs --tokenizer"),
    (["--generate", "--prompt-ids=1", "--prompt=x"], "one of --prompt and --prompt-ids"),
    (["--generate", "--prompt-ids=1", "--top-k=3"], "need a --temperature"),
    (["--generate", "--prompt-ids=1", "--bench"], "--bench does not go with --generate"),
    (["--generate", "--prompt-ids=1", "--eos=3", "--ignore-eos"], "--eos does not go with"),
    (["--generate", "--prompt-ids=-1"], "prompt-ids"),
    (["--generate", "--prompt-ids=1,999"], "999"),
    (["--seed=3"], "--seed goes with --generate"),
    (["--generate", "--prompt=x", "--tokenizer=/nowhere"], "/nowhere"),
    (["--generate", "--prompt=x", "--tokenizer=/nowhere", "--python=/no/python"], "does not answer"),
])
def test_wrong_use(build, flags, word):
    _, executable = build("append")
    assert word in one_error(commrun(executable, *flags), "usage")


def test_empty_prompt(build, tokenizer):
    _, executable = build("append")
    assert "the prompt is empty" in one_error(commrun(executable, "--generate", "--prompt", "", "--tokenizer", tokenizer[0]), "usage")


@pytest.mark.parametrize("module", [llama, gpt2])
def test_without_a_cache(folder, home, module):
    """The text goes through the smallest entry that it fits, padded behind."""
    model = module.build(module.Config(**SIZES), folder / f"whole-{module.__name__}")
    executable = folder / f"{module.__name__}.commx"
    tools.compile_model(model, executable, 2, entries.write(model, [8, 20], 0, folder / f"{module.__name__}-shapes"))
    facts = generated(executable)
    assert facts["stopped_by"] == "cache full" and facts["ids"] == reference.greedy(model, PROMPT, 20 - len(PROMPT) + 1)
    assert "room for 20" in one_error(commrun(executable, "--generate", ids(PROMPT * 3)), "usage")


@pytest.mark.parametrize("name, module, config, dims, word", [
    # The cached keys of such a model are turned by the room, not by how many tokens there are.
    ("places", llama, llama.Config(**SIZES, cache=True), {}, "export it with an input position_ids"),
    ("encoder", bert, bert.Config(**SIZES), {"batch": 1, "sequence": 4}, "no output 'logits'"),
    ("batch", llama, llama.Config(**SIZES, cache=True), {"batch": 2, "sequence": 1, "past_sequence": 8, "total_sequence": 9}, "compile for a batch of one"),
])
def test_models_that_are_no_decoders(folder, home, name, module, config, dims, word):
    model = module.build(config, folder / name)
    executable = folder / f"{name}.commx"
    shapes = [f"--shapes-from=@{path}" for path in ([] if dims else entries.write(model, [1], 16, folder / f"{name}-shapes"))]
    done = commc(model, *shapes, *(flag for dim, size in dims.items() for flag in ("--dim", f"{dim}={size}")), "-o", executable)
    assert done.returncode == 0, done.stderr
    assert word in one_error(commrun(executable, "--generate", ids(PROMPT)), "unsupported")


# What torch writes counts places from the size of the past; with an input for them it continues as the original does.
@pytest.mark.parametrize("name", ["llama_cache", "qwen2_cache_op23"])
def test_positions_are_added(folder, home, name):
    original, _, _ = first_tier(name)
    shutil.copytree(original.parent, folder / name)
    model, executable = folder / name / "places.onnx", folder / f"{name}.commx"
    assert positions.main([str(folder / name / "model.onnx"), "-o", str(model)]) == 0
    tools.compile_model(model, executable, 2, entries.write(model, [1, 4], PAST, folder / f"{name}-shapes"))
    assert generated(executable)["ids"] == reference.greedy(original, PROMPT, COUNT)


@pytest.mark.parametrize("ranks", [1, 2])
def test_exported_model(folder, home, ranks):
    model, _, _ = first_tier("genai_llama_fp32")
    executable = folder / f"genai-{ranks}.commx"
    tools.compile_model(model, executable, ranks, entries.write(model, [1, 4], PAST, folder / "genai-shapes", {"kv_cache_dim": 16}))
    assert generated(executable)["ids"] == reference.greedy(model, PROMPT, COUNT)
