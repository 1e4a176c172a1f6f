//! Chains of authorities that the test makes, each wrong in one way.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use reachproof_model::describe::Described;
use reachproof_model::snapshot::Snapshot;
use serde_json::json;

use super::*;

/// Host of the endpoint.
const HOST: &str = "abc.gr7.us-east-1.eks.amazonaws.com";

/// 2026-01-01.
const NOW: Duration = Duration::from_secs(1_767_225_600);

/// An authority.
type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2035, 1, 1);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate of the year 2026 alone or of 2025 alone, with these names.
fn certificate(authority: &Authority, names: &[&str], year: i32) -> CertificateDer<'static> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.not_before = date_time_ymd(year - 1, 12, 1);
    params.not_after = date_time_ymd(year, 12, 1);
    let key = KeyPair::generate().unwrap();
    params.signed_by(&key, authority).unwrap().der().clone()
}

/// The cluster of a snapshot that names so much as its authority.
fn cluster(authority: &str) -> Cluster {
    let described: Described = json!({
        "describe-vpcs": {"Vpcs": []}, "describe-subnets": {"Subnets": []},
        "describe-network-interfaces": {"NetworkInterfaces": []},
        "describe-security-groups": {"SecurityGroups": []},
        "describe-route-tables": {"RouteTables": []}, "describe-network-acls": {"NetworkAcls": []},
        "describe-cluster": {"cluster": {
            "name": "c", "endpoint": format!("https://{HOST}"),
            "resourcesVpcConfig": {"vpcId": "vpc-1"},
            "certificateAuthority": {"data": authority},
        }},
    })
    .as_object()
    .unwrap()
    .clone()
    .into();
    let decoded = Snapshot::decode(&described).unwrap();
    decoded.snapshot.cluster().unwrap().clone()
}

/// Base64 of a PEM text, as the API has it.
fn encoded(pem: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in pem.as_bytes().chunks(3) {
        let bytes = group.iter().map(|byte| usize::from(*byte));
        let number = bytes.fold(0, |sum, byte| sum << 8 | byte) << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = ALPHABET.get(number >> (18 - 6 * place) & 63).unwrap();
            let is_padding = place > group.len();
            text.push(if is_padding { '=' } else { char::from(*letter) });
        }
    }
    text
}

/// What is found of a chain by a judge who knows `known`.
fn judged(known: &str, chain: &[CertificateDer<'_>]) -> Identification {
    let judge = CertificateJudge::new(Some(&cluster(known)), UNIX_EPOCH + NOW);
    judge.judge(chain)
}

fn uncertified(fault: CertificateFault) -> Identification {
    Identification::Uncertified { fault }
}

#[test]
fn a_chain_to_the_authority_with_either_name_is_certified() {
    let authority = authority();
    let known = encoded(&authority.pem());
    for name in [HOST, SERVICE_NAME] {
        let leaf = certificate(&authority, &[name], 2026);
        assert_eq!(judged(&known, &[leaf]), Identification::Certified, "{name}");
    }
    let both = encoded(&format!("{}{}", self::authority().pem(), authority.pem()));
    let leaf = certificate(&authority, &["other", SERVICE_NAME], 2026);
    assert_eq!(judged(&both, &[leaf]), Identification::Certified);
}

#[test]
fn each_fault_of_a_chain_is_named() {
    let (authority, other) = (authority(), authority());
    let known = encoded(&authority.pem());
    let right = certificate(&authority, &[SERVICE_NAME], 2026);
    let table: [(CertificateFault, Vec<CertificateDer<'_>>); 6] = [
        (CertificateFault::Chain, vec![]),
        (
            CertificateFault::Chain,
            vec![CertificateDer::from(vec![0x30, 0])],
        ),
        (
            CertificateFault::Authority,
            vec![certificate(&other, &[SERVICE_NAME], 2026)],
        ),
        (
            CertificateFault::Name,
            vec![certificate(&authority, &["kubernetes"], 2026)],
        ),
        (
            CertificateFault::Expired,
            vec![certificate(&authority, &[HOST], 2025)],
        ),
        (
            CertificateFault::Expired,
            vec![certificate(&authority, &[HOST], 2027)],
        ),
    ];
    for (fault, chain) in table {
        assert_eq!(judged(&known, &chain), uncertified(fault));
    }
    for nothing in ["", "!", &encoded("no pem")] {
        let found = judged(nothing, std::slice::from_ref(&right));
        assert_eq!(
            found,
            uncertified(CertificateFault::NoAuthority),
            "{nothing}"
        );
    }
    let outside = CertificateJudge::new(None, UNIX_EPOCH + NOW).judge(&[right]);
    assert_eq!(outside, uncertified(CertificateFault::NoAuthority));
}

#[test]
fn a_self_signed_certificate_of_the_right_name_is_not_of_the_authority() {
    let known = encoded(&authority().pem());
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![SERVICE_NAME.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    let own = params.self_signed(&key).unwrap().der().clone();
    assert_eq!(
        judged(&known, &[own]),
        uncertified(CertificateFault::Authority)
    );
}
