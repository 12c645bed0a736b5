"""Chat templates as Python renders them.

templates.py < cases.json > renderings.json
    Each case is { template, messages, tools?, documents?, add_generation_prompt?, continue_final_message?,
    mask?, variables? } or { template, variables } for a bare template; each rendering { text, generated? } or
    { error }.
templates.py trl
    The templates in TRL's wheel: { name: text }.
templates.py versions
    Of Python and of the packages that matter.
"""

import json
import os
import signal
import sys

os.environ.setdefault("TZ", "UTC")
SECONDS = 20


def versions():
    from importlib.metadata import version

    import platform

    names = ["transformers", "jinja2", "trl"]
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def trl_templates():
    from importlib.util import find_spec
    from pathlib import Path

    folder = Path(find_spec("trl").submodule_search_locations[0]) / "chat_templates"
    return {path.name: path.read_bytes().decode("utf8") for path in sorted(folder.glob("*.jinja"))}


def rendering(case):
    from transformers.utils.chat_template_utils import (
        _compile_jinja_template,
        _normalize_chat_messages,
        render_jinja_template,
    )

    variables = case.get("variables", {})
    if "messages" not in case:
        return {"text": _compile_jinja_template(case["template"]).render(**variables)}
    mask = case.get("mask", False)
    texts, generated = render_jinja_template(
        conversations=[_normalize_chat_messages(case["messages"])],
        tools=case.get("tools"),
        documents=case.get("documents"),
        chat_template=case["template"],
        return_assistant_tokens_mask=mask,
        continue_final_message=case.get("continue_final_message", False),
        add_generation_prompt=case.get("add_generation_prompt", False),
        **variables,
    )
    return {"text": texts[0], **({"generated": generated[0]} if mask else {})}


def guarded(case):
    signal.alarm(SECONDS)
    try:
        result = rendering(case)
        json.dumps(result, ensure_ascii=False).encode("utf8")
        return result
    except Exception as error:  # What a template raises is its own affair.
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    finally:
        signal.alarm(0)


def too_long(_signal, _frame):
    raise TimeoutError(f"longer than {SECONDS} s")


if __name__ == "__main__":
    if sys.argv[1:] == ["versions"]:
        print(json.dumps(versions()))
    elif sys.argv[1:] == ["trl"]:
        print(json.dumps(trl_templates()))
    else:
        # Imported before the clock runs: on a busy machine that alone takes seconds.
        import transformers.utils.chat_template_utils  # noqa: F401

        signal.signal(signal.SIGALRM, too_long)
        json.dump([guarded(case) for case in json.load(sys.stdin)], sys.stdout)
