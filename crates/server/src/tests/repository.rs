//! The repository as devices and plain clients see it, over real HTTP.

use edgeward_api::client::{FileAnswer, Files};
use edgeward_api::operator::RolloutRequest;
use edgeward_api::routes;

use super::support::{Plant, WEIGHTS, model, project};

#[test]
fn what_was_registered_and_rolled_out_is_in_the_repository() {
    let plant = Plant::serving(|_| {});
    let operator = plant.operator();
    operator.register_project(&project()).unwrap();
    let version = plant.make_version(&operator, "run-1", WEIGHTS);
    operator
        .start_rollout(&model(), &RolloutRequest { cause: "test".to_owned(), ..RolloutRequest::default() })
        .unwrap();
    let said = plant.wait_for(&operator, |assignment| assignment.next.is_some());
    let next = said.desired.models[&model()].next.as_ref().unwrap();
    assert_eq!(next.bundle, version.bundle);
    assert!(said.releases.contains_key(&(model(), version.bundle)));
    assert_eq!(said.desired.generation, plant.app.repository.desired().unwrap().generation);
    plant.stop();
}

#[test]
fn files_are_sent_once_in_parts_and_only_those_that_are_there() {
    let plant = Plant::serving(|_| {});
    let files = Files::new(&format!("{}{}/metadata", plant.url, routes::REPOSITORY), Some(plant.token()));
    let FileAnswer::Bytes { bytes, etag } = files.get("1.root.json", 10_000, None).unwrap() else {
        panic!("the root is there");
    };
    assert_eq!(bytes, plant.app.repository.root());
    assert_eq!(files.get("1.root.json", 10_000, etag.as_deref()).unwrap(), FileAnswer::Unchanged);
    for path in ["2.root.json", "..%2f..%2foperator.token", "%2e%2e", "x"] {
        assert_eq!(files.get(path, 10_000, None).unwrap(), FileAnswer::Absent, "{path}");
    }
    let address = format!("{}{}/metadata/1.root.json", plant.url, routes::REPOSITORY);
    let request = ureq::get(&address).header("authorization", format!("Bearer {}", plant.token()));
    let mut part = request.header("range", "bytes=2-5").call().unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.body_mut().read_to_vec().unwrap(), bytes[2..6]);
    let nobody = ureq::get(&address).config().http_status_as_error(false).build().call().unwrap();
    assert_eq!(nobody.status(), 401);
    plant.stop();
}

#[test]
fn the_timestamp_is_signed_again_before_it_expires_and_never_goes_back() {
    let plant = Plant::still();
    let day = std::time::Duration::from_secs(24 * 3600);
    let version = || {
        plant.app.repository.keep_fresh(plant.app.now()).unwrap();
        let file = plant.app.repository.file("metadata/timestamp.json").unwrap().unwrap();
        let sent = plant.app.repository.latest("metadata/timestamp.json").unwrap();
        assert_eq!((&sent.bytes, &sent.etag), (&file.bytes, &file.etag));
        let value: serde_json::Value = serde_json::from_slice(&file.bytes).unwrap();
        value["signed"]["version"].as_u64().unwrap()
    };
    assert_eq!(version(), 1);
    plant.pass(3 * day);
    assert_eq!(version(), 1);
    plant.pass(day);
    assert_eq!(version(), 2);
    let plant = plant.crash();
    assert!(!plant.app.repository.keep_fresh(plant.app.now()).unwrap(), "a restart signs nothing anew");
}
