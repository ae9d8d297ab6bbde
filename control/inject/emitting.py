"""Values as text: block style for YAML files, flow style, which is JSON, for JSON files and for lists in brackets."""

import json

import yaml


def block(value: object, column: int, is_indented: bool) -> str:
    """Whole lines, indented by `column`; `is_indented`: lists stand further in than their keys."""
    dumper = _Indented if is_indented else _Flat
    text = yaml.dump(value, Dumper=dumper, sort_keys=False, default_flow_style=False, width=1_000_000)
    return "".join(" " * column + line for line in text.splitlines(keepends=True))


def flow(value: object, indent: str = "", step: str = "") -> str:
    """`step` "": in one line. Else entries stand behind `indent`, and those in them behind one `step` more."""
    if not step:
        return json.dumps(value, ensure_ascii=False)
    lines = json.dumps(value, ensure_ascii=False, indent=step).split("\n")
    return "\n".join([lines[0], *(indent.removesuffix(step) + line for line in lines[1:])])


class _Flat(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        """What two containers share is written twice, as everybody does."""
        return True


class _Indented(_Flat):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)
