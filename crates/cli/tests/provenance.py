"""Validates a bundle's lineage.json and bom.json against the public schemas of in-toto, SLSA and CycloneDX."""
import json
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement, statement_pb2

bundle = Path(sys.argv[1])
document = json.loads((bundle / "lineage.json").read_text())
predicate = document["predicate"]
parsed = json_format.ParseDict(document, statement_pb2.Statement())
statement.Statement.copy_from_pb(parsed).validate()
assert document["predicateType"] == "https://slsa.dev/provenance/v1"
# A field that the schema does not know is an error.
provenance = json_format.ParseDict(predicate, provenance_pb2.Provenance())
assert provenance.build_definition.build_type and provenance.run_details.builder.id
for material in provenance.build_definition.resolved_dependencies:
    assert material.name and material.digest, material

bom = (bundle / "bom.json").read_text()
fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(bom)
assert fault is None, fault
bom = json.loads(bom)
model = bom["metadata"]["component"]
assert model["type"] == "machine-learning-model" and model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
manifest = json.loads((bundle / "manifest.json").read_text())
known = {entry["digest"].split(":")[1] for entry in manifest["files"].values()}
assert model["hashes"][0]["content"] in known
# The validator does find what is wrong.
del model["name"]
assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bom)) is not None
print(len(bom["components"]), len(provenance.build_definition.resolved_dependencies))
