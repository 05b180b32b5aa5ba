"""What wandb-core (0.31) asks of a server that it gives artifacts to: created, files uploaded, committed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote


@dataclass
class StoredArtifact:
    """A version of an artifact.

    Attributes:
        files: by their names, the manifest left out.
    """

    id: str
    name: str
    type: str
    digest: str
    aliases: list[str]
    files: dict[str, bytes] = field(default_factory=dict)
    is_committed: bool = False


class Artifacts:
    """The versions of all artifacts, in the order in which they were created.

    Args:
        url: of the server; uploads come to <url>/uploads/artifact-<id>/<name>.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.versions: list[StoredArtifact] = []
        self.answers = {
            "ArtifactType": lambda v: {"project": {"artifact": None}},
            "CreateArtifact": self._create,
            "CreateArtifactManifest": self._manifest,
            "UpdateArtifactManifest": self._manifest,
            "CreateArtifactFiles": self._files,
            "CommitArtifact": self._commit,
            "ArtifactByID": lambda v: {"artifact": _described(self._by_id(v["id"]))},
        }

    def named(self, name: str) -> list[StoredArtifact]:
        return [version for version in self.versions if version.name == name]

    def take_upload(self, artifact_id: str, name: str, content: bytes) -> None:
        if not name.startswith("manifest-"):
            self._by_id(artifact_id).files[name] = content

    def _by_id(self, artifact_id: str) -> StoredArtifact:
        return next(version for version in self.versions if version.id == artifact_id)

    def _create(self, variables: dict[str, Any]) -> dict[str, Any]:
        given = variables["input"]
        same = [v for v in self.named(given["artifactCollectionName"]) if v.digest == given["digest"]]
        if not same:
            aliases = [alias["alias"] for alias in given["aliases"]]
            same = [
                StoredArtifact(
                    f"artifact-{len(self.versions)}", given["artifactCollectionName"], given["artifactTypeName"],
                    given["digest"], aliases,
                )
            ]  # fmt: skip
            self.versions += same
        state = "COMMITTED" if same[0].is_committed else "PENDING"
        return {
            "createArtifact": {
                "artifact": {"id": same[0].id, "state": state, "artifactSequence": {"latestArtifact": None}}
            }
        }

    def _manifest(self, variables: dict[str, Any]) -> dict[str, Any]:
        manifest_id = variables.get("artifactManifestID") or f"manifest-{variables['artifactID']}"
        artifact_id = manifest_id.removeprefix("manifest-")
        upload = {
            "id": manifest_id,
            "uploadUrl": f"{self._url}/uploads/{artifact_id}/{manifest_id}",
            "uploadHeaders": [],
        }
        operation = "updateArtifactManifest" if "artifactManifestID" in variables else "createArtifactManifest"
        return {operation: {"artifactManifest": {"id": manifest_id, "file": upload}}}

    def _files(self, variables: dict[str, Any]) -> dict[str, Any]:
        nodes = [self._file(spec["artifactID"], spec["name"]) for spec in variables["input"]["artifactFiles"]]
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _file(self, artifact_id: str, name: str) -> dict[str, Any]:
        return {
            "id": f"{artifact_id}/{name}", "name": name, "displayName": name, "storagePath": None,
            "uploadUrl": f"{self._url}/uploads/{artifact_id}/{quote(name)}", "uploadHeaders": [],
            "uploadMultipartUrls": None, "artifact": {"id": artifact_id},
        }  # fmt: skip

    def _commit(self, variables: dict[str, Any]) -> dict[str, Any]:
        version = self._by_id(variables["artifactID"])
        version.is_committed = True
        return {"commitArtifact": {"artifact": {"id": version.id, "digest": version.digest}}}


def _described(version: StoredArtifact) -> dict[str, Any]:
    project = {"__typename": "Project", "id": "1", "internalId": "1", "name": "p", "entity": {"name": "e"}}
    collection = {"__typename": "ArtifactSequence", "id": "1", "name": version.name, "project": project}
    return {
        "__typename": "Artifact", "id": version.id, "artifactSequence": collection, "versionIndex": 0,
        "artifactType": {"name": version.type}, "description": None, "metadata": None, "ttlDurationSeconds": 0,
        "ttlIsInherited": False, "tags": [], "historyStep": 0, "state": "COMMITTED", "size": 1,
        "digest": version.digest, "commitHash": "c", "fileCount": len(version.files),
        "createdAt": "2026-11-28T00:00:00Z", "updatedAt": None, "aliases": [],
    }  # fmt: skip
