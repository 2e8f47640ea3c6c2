"""What schemathesis is not to try: parameters with which the answer waits. Journeys try those."""

import schemathesis

WAITS = {"wait", "waitFor", "maxStaleness"}


@schemathesis.hook
def before_load_schema(context, raw_schema):
    def is_tried(parameter):
        return parameter.get("$ref", "").rsplit("/", 1)[-1] not in WAITS

    for path in raw_schema["paths"].values():
        for operation in path.values():
            if isinstance(operation, dict) and "parameters" in operation:
                operation["parameters"] = [it for it in operation["parameters"] if is_tried(it)]
