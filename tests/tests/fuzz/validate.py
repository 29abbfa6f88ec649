"""Whether the document is valid OpenAPI 3.1, and whether its examples are what it says they are.

Usage: validate.py DOCUMENT
"""

import json
import sys

from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator


def main() -> int:
    with open(sys.argv[1], encoding="utf-8") as file:
        document = json.load(file)
    problems = [f"{list(error.path)}: {error.message}" for error in OpenAPIV31SpecValidator(document).iter_errors()]
    examples = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            media = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if media is not None:
                examples += 1
                # Its references lead into the document.
                schema = {**media["schema"], "components": document["components"]}
                errors = Draft202012Validator(schema).iter_errors(media["example"])
                problems += [f"{method} {path} example: {error.message}" for error in errors]
            for parameter in operation["parameters"]:
                schema = parameter["schema"].get("items", parameter["schema"])
                for example in schema.get("examples", []):
                    errors = Draft202012Validator(schema).iter_errors(example)
                    problems += [f"{method} {path} {parameter['name']}: {error.message}" for error in errors]
    print("\n".join(problems) or f"valid, {examples} examples of bodies")
    return 1 if problems or examples < 10 else 0


if __name__ == "__main__":
    sys.exit(main())
