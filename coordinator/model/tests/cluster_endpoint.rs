//! Where the name of the API server leads.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use reachproof_model::cluster_endpoint::{EndpointPath, EndpointResolution, endpoint_path};
use reachproof_model::snapshot::Snapshot;
use serde_json::json;

use world::described;

mod world;

/// The name of the cluster in these tests.
const NAME: &str = "abc.gr7.eu-central-1.eks.amazonaws.com";

/// The world of a vector, whose control plane has 10.0.1.10 and 10.0.2.10 in 10.0.0.0/16, with this endpoint.
fn snapshot(endpoint: Option<&str>) -> Snapshot {
    let mut world = described("A01");
    let (_, answer) = world
        .iter()
        .find(|(stem, _)| *stem == "describe-cluster")
        .unwrap();
    let mut answer = answer.clone();
    let cluster = answer.get_mut("cluster").unwrap().as_object_mut().unwrap();
    cluster.remove("endpoint");
    if let Some(endpoint) = endpoint {
        let url = json!(format!("https://{endpoint}"));
        cluster.insert("endpoint".to_owned(), url);
    }
    world.insert("describe-cluster", answer);
    Snapshot::decode(&world).unwrap().snapshot
}

/// What an agent says.
fn resolution(name: &str, addresses: &[&str]) -> EndpointResolution {
    EndpointResolution {
        name: name.to_owned(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        failure: String::new(),
    }
}

#[test]
fn addresses_say_where_the_endpoint_leads() {
    let snapshot = snapshot(Some(NAME));
    let table: [(&[&str], EndpointPath); 7] = [
        (&["10.0.1.10"], EndpointPath::ControlPlane),
        (&["10.0.1.10", "10.0.2.10"], EndpointPath::ControlPlane),
        (&["3.120.0.1", "3.120.0.2"], EndpointPath::Public),
        (&["10.0.1.10", "3.120.0.1"], EndpointPath::Mixed),
        (&["10.0.1.99"], EndpointPath::Elsewhere),
        (&["3.120.0.1", "10.0.1.99"], EndpointPath::Elsewhere),
        (&[], EndpointPath::Nowhere),
    ];
    for (addresses, expected) in table {
        let path = endpoint_path(&snapshot, &resolution(NAME, addresses));
        assert_eq!(path, expected, "{addresses:?}");
    }
}

#[test]
fn a_foreign_name_says_nothing_about_this_cluster() {
    let other = resolution("other.gr7.eu-central-1.eks.amazonaws.com", &["10.0.1.10"]);
    assert_eq!(
        endpoint_path(&snapshot(Some(NAME)), &other),
        EndpointPath::OtherName
    );
    let shouted = resolution(&NAME.to_uppercase(), &["10.0.1.10"]);
    assert_eq!(
        endpoint_path(&snapshot(Some(NAME)), &shouted),
        EndpointPath::ControlPlane
    );
    // The snapshot does not say the name: nothing to compare with.
    assert_eq!(
        endpoint_path(&snapshot(None), &other),
        EndpointPath::ControlPlane
    );
}
