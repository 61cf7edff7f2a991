//! Small models, whole and wrong.

use prost::Message as _;

use super::*;
use crate::onnx::proto;

fn tensor(name: &str, dims: &[i64]) -> proto::Tensor {
    proto::Tensor { name: name.to_owned(), dims: dims.to_vec(), data_type: proto::FLOAT, ..proto::Tensor::default() }
}

fn placed(name: &str, dims: &[i64], entries: &[(&str, &str)]) -> proto::Tensor {
    let entry = |(key, value): &(&str, &str)| proto::Entry { key: (*key).to_owned(), value: (*value).to_owned() };
    proto::Tensor { external_data: entries.iter().map(entry).collect(), data_location: Some(1), ..tensor(name, dims) }
}

fn node(kind: &str, inputs: &[&str], numbers: &[(&str, i64)]) -> proto::Node {
    let number = |(name, int): &(&str, i64)| proto::Attribute {
        name: (*name).to_owned(),
        int: Some(*int),
        kind: 2,
        ..proto::Attribute::default()
    };
    proto::Node {
        op_type: kind.to_owned(),
        input: inputs.iter().map(|input| (*input).to_owned()).collect(),
        attribute: numbers.iter().map(number).collect(),
        ..proto::Node::default()
    }
}

fn model(initializer: Vec<proto::Tensor>, node: Vec<proto::Node>) -> Vec<u8> {
    let info = |name: &str| proto::ValueInfo { name: name.to_owned(), ..proto::ValueInfo::default() };
    let input = ["input_ids", "w"].map(info).into();
    let graph = proto::Graph { node, initializer, input, output: vec![info("logits")], ..proto::Graph::default() };
    proto::Model { graph: Some(graph), ..proto::Model::default() }.encode_to_vec()
}

/// A message of one field that holds another.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![tag << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut out);
    out.extend(bytes);
    out
}

#[test]
fn a_model_says_what_it_takes_gives_and_weighs() {
    let weights = vec![
        tensor("w", &[4, 8]),
        tensor("scalar", &[]),
        placed("big", &[100, 10], &[("location", "model.onnx_data"), ("offset", "64"), ("length", "4000")]),
        placed("more", &[5], &[("location", "model.onnx_data")]),
    ];
    let found = Graph::read(&model(weights, vec![node("GroupQueryAttention", &[], &[])])).unwrap();
    assert_eq!((found.inputs, found.outputs), (vec!["input_ids".to_owned()], vec!["logits".to_owned()]));
    assert_eq!((found.parameters, found.sharing_layers), (32 + 1 + 1_000 + 5, 1));
    assert_eq!(found.data, BTreeMap::from([("model.onnx_data".to_owned(), 4_064)]));
}

#[test]
fn packed_weights_count_as_what_they_stand_for() {
    let weights = || vec![tensor("w", &[16, 2, 16]), tensor("s", &[32]), tensor("z", &[16]), tensor("e", &[100, 16])];
    let nodes = vec![
        node("MatMulNBits", &["x", "w", "s", "z"], &[("K", 64), ("N", 16), ("bits", 4)]),
        node("GatherBlockQuantized", &["e", "ids", "s"], &[("bits", 4)]),
    ];
    assert_eq!(Graph::read(&model(weights(), nodes)).unwrap().parameters, 64 * 16 + 3_200);
    // A product that claims less than its bytes counts as these.
    let lies = vec![node("MatMulNBits", &["x", "w", "s", "z"], &[("K", 1), ("N", 1)])];
    assert_eq!(Graph::read(&model(weights(), lies)).unwrap().parameters, 16 * 2 * 16 + 1_600);
    assert!(Graph::read(&model(weights(), vec![node("QMoE", &[], &[])])).unwrap_err().contains("QMoE"));
}

#[test]
fn no_file_of_weights_is_outside_its_folder_wherever_the_graph_names_it() {
    let evil = [
        "../secret",
        "/etc/passwd",
        "a/b",
        "..",
        ".",
        "",
        "a\\b",
        ".hidden",
        "tokenizer.json",
        "model.ONNX",
        "a\0",
        "./a",
    ];
    for name in evil {
        let weight = placed("w", &[1], &[("location", name)]);
        assert!(Graph::read(&model(vec![weight], vec![])).unwrap_err().contains("no file of weights"), "{name:?}");
    }
    let hidden = placed("w", &[1], &[("location", "../secret")]).encode_to_vec();
    let in_graph =
        proto::Graph { initializer: vec![placed("w", &[1], &[("location", "../secret")])], ..proto::Graph::default() };
    let whole = |part: Vec<u8>| field(7, &part);
    let attribute = |part: Vec<u8>| field(1, &field(5, &part));
    for (place, bytes) in [
        ("a node's constant", whole(attribute(field(5, &hidden)))),
        ("a node's list", whole(attribute(field(10, &hidden)))),
        ("a branch", whole(attribute(field(6, &in_graph.encode_to_vec())))),
        ("one of several branches", whole(attribute(field(11, &in_graph.encode_to_vec())))),
        ("a sparse weight", whole(field(15, &field(2, &hidden)))),
        ("a branch in a branch", whole(attribute(field(6, &attribute(field(6, &in_graph.encode_to_vec())))))),
    ] {
        assert!(Graph::read(&bytes).unwrap_err().contains("secret"), "{place}");
    }
    let mut function = vec![0xca, 0x01];
    prost::encoding::encode_varint(field(7, &field(5, &field(5, &hidden))).len() as u64, &mut function);
    function.extend(field(7, &field(5, &field(5, &hidden))));
    assert!(Graph::read(&[model(vec![], vec![]), function].concat()).unwrap_err().contains("secret"), "a function");
}

#[test]
fn what_is_said_twice_or_is_no_place_is_refused() {
    let said = |entries: &[(&str, &str)]| Graph::read(&model(vec![placed("w", &[1], entries)], vec![])).unwrap_err();
    assert!(said(&[("location", "a"), ("location", "../b")]).contains("twice"));
    for (key, value) in
        [("offset", "-1"), ("offset", "x"), ("length", "99999999999999999999"), ("offset", "18446744073709551615")]
    {
        let wrong = said(&[("location", "a"), (key, value), ("length", "1")][..if key == "length" { 2 } else { 3 }]);
        assert!(wrong.contains("no place"), "{value}: {wrong}");
    }
    let twice = [field(13, &[field(1, b"location"), field(2, b"a"), field(2, b"../b")].concat())].concat();
    assert!(Graph::read(&field(7, &field(5, &twice))).unwrap_err().contains("twice"));
    assert!(Graph::read(&model(vec![tensor("w", &[-1])], vec![])).unwrap_err().contains("below zero"));
    assert!(
        Graph::read(&model(vec![tensor("w", &[1]), tensor("w", &[2])], vec![])).unwrap_err().contains("two weights")
    );
    assert_eq!(Graph::read(&model(vec![tensor("w", &[i64::MAX, i64::MAX])], vec![])).unwrap().parameters, u64::MAX);
}

#[test]
fn what_is_no_model_is_told() {
    for bytes in [&b""[..], b"GGUF", b"\x08\x01", &[0xff; 40]] {
        assert!(Graph::read(bytes).unwrap_err().contains("no ONNX model"), "{bytes:?}");
    }
    let one = model(vec![], vec![]);
    assert!(Graph::read(&[one.clone(), one].concat()).is_err(), "two graphs");
    let deep = (0..20).fold(Vec::new(), |inner, _| field(1, &field(5, &field(6, &inner))));
    assert!(Graph::read(&field(7, &deep)).unwrap_err().contains("deep"));
    let whole =
        model(vec![placed("w", &[3, 4], &[("location", "a"), ("length", "48")])], vec![node("Add", &["a"], &[])]);
    for length in 0..whole.len() {
        let _ = Graph::read(&whole[..length]);
    }
}

#[test]
fn files_of_weights_are_there_and_long_enough() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.onnx");
    fs::write(&file, model(vec![placed("w", &[2], &[("location", "data"), ("length", "8")])], vec![])).unwrap();
    let said = || Graph::open(&file).unwrap_err().to_string();
    assert!(said().contains("can't be read"));
    fs::write(folder.path().join("data"), [0; 7]).unwrap();
    assert!(said().contains("need 8 bytes of data, which has 7"), "{}", said());
    fs::write(folder.path().join("data"), [0; 8]).unwrap();
    assert!(Graph::open(&file).is_ok());
    fs::remove_file(folder.path().join("data")).unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    assert!(Graph::open(&file).is_err());
}
