import pytest

from klipstream_kube import CONFIG_MAPS, JOBS, NAMESPACES, PODS, Resource

ANALYSES = Resource("analysis.klipstream.io", "v1alpha1", "analysisjobs", "AnalysisJob")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (PODS.path(), "/api/v1/pods"),
        (PODS.path("ns"), "/api/v1/namespaces/ns/pods"),
        (PODS.path("ns", "p", "status"), "/api/v1/namespaces/ns/pods/p/status"),
        (JOBS.path("ns", "j"), "/apis/batch/v1/namespaces/ns/jobs/j"),
        (NAMESPACES.path(None, "ns"), "/api/v1/namespaces/ns"),
        (
            ANALYSES.path("ns", "a", "scale"),
            "/apis/analysis.klipstream.io/v1alpha1/namespaces/ns/analysisjobs/a/scale",
        ),
        (CONFIG_MAPS.path("ns", "../pods"), "/api/v1/namespaces/ns/configmaps/..%2Fpods"),
    ],
)
def test_a_path_is_the_one_of_the_api_server(path: str, expected: str) -> None:
    assert path == expected


@pytest.mark.parametrize("parts", [("ns", ""), ("", "p"), ("ns", None, "status"), (None, "p")])
def test_incomplete_parts_never_name_a_whole_collection(parts: tuple[str | None, ...]) -> None:
    with pytest.raises(ValueError, match="pods"):
        PODS.path(*parts)


def test_a_cluster_wide_resource_refuses_a_namespace() -> None:
    with pytest.raises(ValueError, match="has no namespace"):
        NAMESPACES.path("ns")


def test_names_are_those_of_manifests_and_of_rbac() -> None:
    assert (PODS.api_version, PODS.qualified_name) == ("v1", "pods")
    assert (JOBS.api_version, JOBS.qualified_name) == ("batch/v1", "jobs.batch")
