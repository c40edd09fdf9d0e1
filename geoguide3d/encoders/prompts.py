"""How the name of a class becomes a prompt."""

from __future__ import annotations

ARTICLES = ("a", "an", "the")


def without_article(prompt: str) -> str:
    """Returns prompt with no leading article and no surplus space: "  a red  chair" → "red chair"."""
    words = prompt.split()
    return " ".join(words[1:] if len(words) > 1 and words[0].lower() in ARTICLES else words)


def class_prompt(name: str, template: str) -> str:
    """Returns the prompt that asks for a class name: the template filled in ("a {}": "chair" → "a chair").

    A name that brings its own article is a phrase already and stays as it is. Prompts that a user types are never
    changed: the template is for label sets.

    Raises:
        ValueError: the template has no place for the name.
    """
    if "{}" not in template:
        raise ValueError(f'prompt template {template!r} has no "{{}}" for the class name; write for instance "a {{}}"')
    return name if without_article(name) != " ".join(name.split()) else template.replace("{}", name)
