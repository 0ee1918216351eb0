//! Calls as they come over the wire, without the wire; `crates/cli/tests/triton.py` has the wire and Triton's own client.

use axum::http::Method;
use edgeward_core::DeviceId;
use http_body_util::BodyExt as _;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use super::messages::{
    Contents, InferParameter, InferTensor, ModelInferRequest, ModelInferResponse, ModelRequest,
    ModelStreamInferResponse, ParameterChoice, RequestedOutput,
};
use super::*;
use crate::endpoint::About;
use crate::endpoint::encoding::Encoding;
use crate::fixtures::{NOW, TestEndpoint};

const SERVICE: &str = "/inference.GRPCInferenceService";
const OK: i32 = Code::Ok as i32;

/// A code, what was said about it, and the messages.
type Said<B> = (i32, String, Vec<B>);

fn endpoint(test: &TestEndpoint) -> Arc<Endpoint> {
    let about = Arc::new(About::new(DeviceId::new("robot-1").unwrap(), None));
    Endpoint::new(Arc::clone(&test.registry), Arc::clone(&test.records), about, || NOW)
}

fn framed(message: &[u8], is_packed: bool) -> Vec<u8> {
    let len = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[u8::from(is_packed)][..], &len, message].concat()
}

fn send<B: Message + Default>(endpoint: &Arc<Endpoint>, call: &str, packed: &str, body: Vec<u8>) -> Said<B> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("{SERVICE}/{call}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header("grpc-encoding", packed)
        .header("grpc-accept-encoding", "identity, deflate, gzip")
        .body(Body::from(body))
        .unwrap();
    let router = Arc::clone(endpoint).router(None);
    Runtime::new().unwrap().block_on(async move {
        let response = router.oneshot(request).await.unwrap();
        let mut headers = response.headers().clone();
        let collected = response.into_body().collect().await.unwrap();
        headers.extend(collected.trailers().cloned().unwrap_or_default());
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        let code = text("grpc-status").unwrap().parse().unwrap();
        let bytes = collected.to_bytes();
        (code, text("grpc-message").unwrap_or_default(), messages(&bytes))
    })
}

fn messages<B: Message + Default>(mut bytes: &[u8]) -> Vec<B> {
    let mut found = Vec::new();
    while let [0, a, b, c, d, rest @ ..] = bytes {
        let (message, rest) = rest.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        found.push(B::decode(message).unwrap());
        bytes = rest;
    }
    found
}

fn ask<A: Message, B: Message + Default>(endpoint: &Arc<Endpoint>, call: &str, message: &A) -> Said<B> {
    send(endpoint, call, "identity", framed(&message.encode_to_vec(), false))
}

fn refused<A: Message>(endpoint: &Arc<Endpoint>, call: &str, message: &A, code: Code, words: &str) {
    let (found, said, _) = ask::<A, Nothing>(endpoint, call, message);
    // Spaces and the like are percent-encoded.
    let said = said.replace("%20", " ");
    assert!(found == code as i32 && said.contains(words), "{found} {said}");
}

fn input(values: &[f32]) -> InferTensor {
    InferTensor {
        name: "x".to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![1, 4],
        contents: Some(Contents { fp32s: values.to_vec(), ..Contents::default() }),
        ..InferTensor::default()
    }
}

fn row() -> ModelInferRequest {
    ModelInferRequest {
        model_name: "digits".to_owned(),
        id: "seven".to_owned(),
        inputs: vec![input(&[1.0, 2.0, 3.0, 4.0])],
        ..ModelInferRequest::default()
    }
}

#[test]
fn an_answer_comes_in_the_form_of_its_request_and_is_the_same_in_both() {
    let test = TestEndpoint::serving();
    let endpoint = endpoint(&test);
    let (code, said, answers) = ask::<_, ModelInferResponse>(&endpoint, "ModelInfer", &row());
    assert_eq!((code, said.as_str()), (OK, ""));
    let typed = &answers[0];
    assert_eq!((typed.model_name.as_str(), typed.id.as_str()), ("digits", "seven"));
    let at = typed.outputs.iter().position(|output| output.name == "probabilities").unwrap();
    let values = &typed.outputs[at].contents.as_ref().unwrap().fp32s;
    assert_eq!((typed.outputs[at].shape.as_slice(), values.len()), (&[1, 3][..], 3));
    assert!(typed.parameters.contains_key("prediction_id") && typed.parameters.contains_key("confidence"));
    let elements: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let raw = ModelInferRequest {
        inputs: vec![InferTensor { contents: None, ..input(&[]) }],
        raw_input_contents: vec![elements.into()],
        ..row()
    };
    let (_, _, answers) = ask::<_, ModelInferResponse>(&endpoint, "ModelInfer", &raw);
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(answers[0].raw_output_contents[at], bytes);
    assert_eq!(test.served().report().requests, 2);
    assert_eq!(test.records.journalled(), 2);
}

#[test]
fn bad_requests_get_the_nearest_code_and_a_clear_text() {
    let test = TestEndpoint::serving();
    let endpoint = endpoint(&test);
    let infer = |asked: ModelInferRequest, code: Code, words: &str| {
        refused(&endpoint, "ModelInfer", &asked, code, words);
    };
    let with = |input: InferTensor| ModelInferRequest { inputs: vec![input], ..row() };
    infer(ModelInferRequest { model_name: "letters".to_owned(), ..row() }, Code::NotFound, "it has: digits");
    infer(ModelInferRequest { model_version: "7".to_owned(), ..row() }, Code::NotFound, "is not serving");
    infer(ModelInferRequest { inputs: Vec::new(), ..row() }, Code::InvalidArgument, "no inputs");
    infer(with(input(&[1.0])), Code::InvalidArgument, "needs 4 values");
    infer(with(InferTensor { shape: vec![-1, 4], ..input(&[]) }), Code::InvalidArgument, "negative");
    let half = InferTensor { datatype: "FP16".to_owned(), ..input(&[]) };
    infer(with(half), Code::InvalidArgument, "'FP16' is not known here");
    let narrow = InferTensor {
        datatype: "UINT8".to_owned(),
        contents: Some(Contents { uints: vec![1, 2, 3, 256], ..Contents::default() }),
        ..input(&[])
    };
    infer(with(narrow), Code::InvalidArgument, "outside the range");
    let both = ModelInferRequest { raw_input_contents: vec![vec![0; 16].into()], ..row() };
    infer(both, Code::InvalidArgument, "not both");
    let many = ModelInferRequest { raw_input_contents: vec![vec![0; 16].into(); 2], ..row() };
    infer(many, Code::InvalidArgument, "2 raw_input_contents for 1 inputs");
    let shared = InferParameter { choice: Some(ParameterChoice::Text("a".to_owned())) };
    let shared =
        InferTensor { parameters: [("shared_memory_region".to_owned(), shared)].into(), ..input(&[]) };
    infer(with(shared), Code::InvalidArgument, "shared memory is not supported");
    let other = RequestedOutput { name: "z".to_owned(), ..RequestedOutput::default() };
    infer(ModelInferRequest { outputs: vec![other], ..row() }, Code::InvalidArgument, "no output 'z'");
    refused(&endpoint, "RepositoryModelLoad", &Nothing {}, Code::Unimplemented, "the control plane");
    refused(&endpoint, "Nonsense", &Nothing {}, Code::Unimplemented, "GRPCInferenceService");
    assert_eq!(test.served().report().requests_failed, 0);
    let empty = self::endpoint(&TestEndpoint::new());
    refused(&empty, "ModelInfer", &row(), Code::Unavailable, "no model to serve yet");
}

#[test]
fn messages_are_bounded_packed_or_not() {
    let endpoint = endpoint(&TestEndpoint::serving());
    let check = |packed: &str, body: Vec<u8>, code: Code| {
        let (found, said, _) = send::<Nothing>(&endpoint, "ModelInfer", packed, body);
        assert_eq!(found, code as i32, "{said}");
    };
    let big = ModelInferRequest { raw_input_contents: vec![vec![0; BODY_BYTES_MAX].into()], ..row() };
    let big = big.encode_to_vec();
    check("identity", framed(&big, false), Code::OutOfRange);
    for encoding in [Encoding::Gzip, Encoding::Deflate] {
        check(encoding.as_str(), framed(&encoding.pack(&big).unwrap(), true), Code::ResourceExhausted);
        check(encoding.as_str(), framed(&encoding.pack(&row().encode_to_vec()).unwrap(), true), Code::Ok);
    }
    check("br", framed(&[1, 2, 3], true), Code::Unimplemented);
    check("identity", framed(&[0xff; 9], false), Code::Internal);
    check("identity", vec![0, 0, 0], Code::Internal);
}

#[test]
fn who_comes_too_many_is_told_to_come_again() {
    let endpoint = endpoint(&TestEndpoint::serving());
    let all = Arc::clone(&endpoint.permits).try_acquire_many_owned(64).unwrap();
    refused(&endpoint, "ModelInfer", &row(), Code::ResourceExhausted, "try again shortly");
    drop(all);
    let all = Arc::clone(&endpoint.streams).try_acquire_many_owned(16).unwrap();
    refused(&endpoint, "ModelStreamInfer", &row(), Code::ResourceExhausted, "streams are open already");
    drop(all);
    assert_eq!(ask::<_, ModelInferResponse>(&endpoint, "ModelInfer", &row()).0, OK);
}

#[test]
fn a_stream_answers_in_order_and_outlives_a_bad_request() {
    let endpoint = endpoint(&TestEndpoint::serving());
    let asks_final = InferParameter { choice: Some(ParameterChoice::Bool(true)) };
    let last = ModelInferRequest {
        id: "last".to_owned(),
        parameters: [("triton_enable_empty_final_response".to_owned(), asks_final)].into(),
        ..row()
    };
    let bad = ModelInferRequest { inputs: vec![input(&[1.0])], id: "bad".to_owned(), ..row() };
    let body = [row(), bad, last].iter().flat_map(|asked| framed(&asked.encode_to_vec(), false)).collect();
    let (code, _, answers) =
        send::<ModelStreamInferResponse>(&endpoint, "ModelStreamInfer", "identity", body);
    let ids: Vec<&str> =
        answers.iter().map(|said| said.infer_response.as_ref().unwrap().id.as_str()).collect();
    assert_eq!((code, &ids[..]), (OK, &["seven", "bad", "last"][..]));
    let errors: Vec<bool> = answers.iter().map(|said| !said.error_message.is_empty()).collect();
    assert_eq!(errors, [false, true, false]);
    let says_final = |at: usize| {
        answers[at].infer_response.as_ref().unwrap().parameters.contains_key("triton_final_response")
    };
    assert_eq!([says_final(0), says_final(2)], [false, true]);
}

#[test]
fn readiness_is_an_answer_and_no_error() {
    let test = TestEndpoint::serving();
    let endpoint = endpoint(&test);
    let version = test.served().handle.current().unwrap().bundle().hex();
    let ready = |name: &str, version: &str| {
        let asked = ModelRequest { name: name.to_owned(), version: version.to_owned() };
        let (code, _, said) = ask::<_, ReadyResponse>(&endpoint, "ModelReady", &asked);
        (code, said[0].ready)
    };
    assert_eq!([ready("digits", ""), ready("digits", &version)], [(OK, true); 2]);
    assert_eq!([ready("digits", "7"), ready("letters", "")], [(OK, false); 2]);
}
