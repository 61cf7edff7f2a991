//! An import is a proof: everything in a file is computed with or refused by its name. Each file here is a small model
//! with one change.

use std::path::{Path, PathBuf};

use engine::import;
use engine::model::Model;
use engine::tokenizer::{Special, Tokenizer};
use serde_json::json;

use super::tiny::{END, HIDDEN, Tiny, Value, tokens};

/// Imports a file's bytes. The caller removes the folder.
pub(crate) fn import_bytes(bytes: &[u8]) -> (tempfile::TempDir, Result<PathBuf, String>) {
    let root = tempfile::tempdir().unwrap();
    let (file, out) = (root.path().join("model.gguf"), root.path().join("out"));
    std::fs::write(&file, bytes).unwrap();
    let imported = import::import(&file, &out).map(|_| out.clone()).map_err(|error| error.to_string());
    assert_eq!(out.exists(), imported.is_ok(), "a folder appears whole or not at all");
    (root, imported)
}

#[track_caller]
fn refused(tiny: &Tiny) -> String {
    import_bytes(&tiny.bytes()).1.unwrap_err()
}

#[track_caller]
fn tokenizer(tiny: &Tiny) -> Tokenizer {
    let (_root, imported) = import_bytes(&tiny.bytes());
    Tokenizer::load(&imported.unwrap()).unwrap()
}

/// The largest difference, in nats, between the imported model's log probabilities and the definition's.
fn distance(tiny: &Tiny, divisor: f64) -> f64 {
    let (_root, imported) = import_bytes(&tiny.bytes());
    let ids: Vec<u32> = (0..60).map(|at| at * 7 % 256).collect();
    let found =
        Model::load(&super::runtime(), "tiny", &imported.unwrap(), 1).unwrap().decoder().all_logits(&ids).unwrap();
    let expected = tiny.expected(&ids, divisor);
    let apart = found.iter().zip(&expected).flat_map(|(scores, expected)| {
        let total: f64 = scores.iter().map(|score| f64::from(*score).exp()).sum();
        scores.iter().zip(expected).map(move |(score, expected)| (f64::from(*score) - total.ln() - expected).abs())
    });
    apart.fold(0.0, f64::max)
}

#[test]
fn a_plain_file_is_computed_as_its_definition_says() {
    assert!(distance(&Tiny::new(), 1.0) < 1e-3);
    let divisors = Tiny::new().tensor("rope_freqs.weight", &[8], vec![1.0; 8]);
    assert!(distance(&divisors, 1.0) < 1e-3, "rope_freqs.weight is read, so it is taken");
}

#[test]
fn scaled_positions_are_read_in_every_spelling_or_refused() {
    let factor = |key: &str, value: f32| Tiny::new().key(key, Value::F32(value));
    let new = factor("llama.rope.scaling.factor", 4.0);
    assert!(distance(&new, 1.0) > 0.5, "a factor of 4 is far from none");
    for scaled in [
        new.clone(),
        new.clone().text("llama.rope.scaling.type", "linear"),
        factor("llama.rope.scale_linear", 4.0),
        Tiny::new().key("llama.rope.scaling.factor", Value::U32(4)),
        new.clone().key("llama.rope.scale_linear", Value::F32(4.0)),
        new.clone().key("llama.rope.scaling.original_context_length", Value::U32(32)),
    ] {
        assert!(distance(&scaled, 4.0) < 1e-3);
    }
    assert!(distance(&factor("llama.rope.scaling.factor", 0.0), 1.0) < 1e-3, "0 stands for none");
    for (wrong, said) in [
        (new.clone().text("llama.rope.scaling.type", "none"), "llama.rope.scaling.type"),
        (new.clone().text("llama.rope.scaling.type", "dynamic"), "dynamic"),
        (Tiny::new().text("llama.rope.scaling.type", "yarn"), "llama.rope.scaling.factor"),
        (Tiny::new().text("llama.rope.scaling.type", "longrope"), "rope_factors_long"),
        (new.clone().text("llama.rope.scaling.type", "longrope"), "longrope"),
        (new.clone().text("llama.rope.scaling.type", "llama3"), "low_freq_factor"),
        (
            new.clone()
                .text("llama.rope.scaling.type", "llama3")
                .key("llama.rope.scaling.low_freq_factor", Value::F32(4.0))
                .key("llama.rope.scaling.high_freq_factor", Value::F32(1.0)),
            "high_freq_factor",
        ),
        (new.clone().key("llama.rope.scaling.type", Value::U32(1)), "llama.rope.scaling.type"),
        (new.clone().key("llama.rope.scale_linear", Value::F32(2.0)), "llama.rope.scale_linear"),
        (new.clone().key("llama.rope.scaling.attn_factor", Value::F32(0.0)), "attn_factor"),
        (new.clone().key("llama.rope.scaling.yarn_attn_factor", Value::F32(1.1)), "yarn_attn_factor"),
        (new.clone().key("llama.rope.scaling.yarn_ext_factor", Value::F32(1.0)), "yarn_ext_factor"),
        (factor("llama.rope.scaling.factor", f32::NAN), "llama.rope.scaling.factor"),
        (factor("llama.rope.scaling.factor", -4.0), "llama.rope.scaling.factor"),
        (factor("llama.rope.scale", 4.0), "llama.rope.scale"),
        (factor("rope.scaling.factor", 4.0), "rope.scaling.factor"),
        (factor("llama.rope.freq_base", 0.0), "llama.rope.freq_base"),
    ] {
        let message = refused(&wrong);
        assert!(message.contains(said), "{said}: {message}");
    }
}

#[test]
fn a_tensor_that_is_not_computed_with_is_refused_by_name() {
    let half = |size: usize| vec![0.5; size];
    for (tiny, name) in [
        (Tiny::new().tensor("blk.0.attn_q_norm.weight", &[16], half(16)), "blk.0.attn_q_norm.weight"),
        (Tiny::new().tensor("blk.0.attn_norm.bias", &[32], half(32)), "blk.0.attn_norm.bias"),
        (Tiny::new().tensor("blk.0.attn_q.bias", &[16], half(16)), "blk.0.attn_q.bias"),
        (Tiny::new().tensor("blk.0.post_ffw_norm.weight", &[32], half(32)), "blk.0.post_ffw_norm.weight"),
        (Tiny::new().tensor("blk.0.attn_qkv.weight", &[32, 64], half(2048)), "blk.0.attn_k.weight"),
        (Tiny::new().tensor("output_norm.bias", &[32], half(32)), "output_norm.bias"),
        (Tiny::new().tensor("blk.1.attn_norm.weight", &[32], half(32)), "blk.1.attn_norm.weight"),
        (Tiny::new().tensor("rope_factors_long.weight", &[8], half(8)), "rope_factors_long.weight"),
        (Tiny::new().tensor("rope_factors_short.weight", &[8], half(8)), "rope_factors_short.weight"),
        (Tiny::new().tensor("rope_freqs.weight", &[4], half(4)), "rope_freqs.weight"),
        (Tiny::new().renamed("output.weight", "output.weigh"), "output.weigh"),
        (Tiny::new().renamed("blk.0.ffn_up.weight", "blk.0.ffn_pu.weight"), "blk.0.ffn_pu.weight"),
        (Tiny::new().key("llama.block_count", Value::U32(2)), "blk.1."),
    ] {
        let message = refused(&tiny);
        assert!(message.contains(name), "{name}: {message}");
    }
}

#[test]
fn a_weight_that_is_no_number_is_refused_wherever_it_is() {
    for name in
        ["token_embd.weight", "output.weight", "blk.0.attn_norm.weight", "blk.0.attn_q.weight", "blk.0.ffn_down.weight"]
    {
        for weight in [f32::NAN, f32::INFINITY] {
            let message = refused(&Tiny::new().change(name, |weights| weights[HIDDEN / 2] = weight));
            assert!(message.contains(name) && message.contains("finite"), "{message}");
        }
    }
}

#[test]
fn a_key_that_is_not_known_or_not_computed_is_refused_by_name() {
    for (key, value) in [
        ("llama.attention.sliding_window_pattern", Value::U32(6)),
        ("llama.attn_logit_softcapping", Value::F32(50.0)),
        ("llama.rope.freq_base_swa", Value::F32(1e4)),
        ("llama.expert_count", Value::U32(8)),
        ("llama.attention.clamp_kqv", Value::F32(8.0)),
        ("llama.attention.scale", Value::F32(1.0)),
        ("llama.vocab_size", Value::U32(300)),
        ("llama.wholly_new", Value::U32(1)),
        ("gemma3.attention.sliding_window", Value::U32(1)),
        ("general.type", Value::Text("adapter".to_owned())),
        ("tokenizer.ggml.add_space_prefix", Value::Flag(true)),
        ("tokenizer.ggml.eot_token_id", Value::U32(900)),
        ("tokenizer.ggml.bos_token_id", Value::U32(259)),
        ("tokenizer.ggml.add_bos_token", Value::U32(1)),
    ] {
        let message = refused(&Tiny::new().key(key, value));
        assert!(message.contains(key) || message.contains(key.rsplit('.').next().unwrap()), "{key}: {message}");
    }
    let message = refused(&Tiny::new().key("llama.attention.value_length", Value::U32(8)));
    assert!(message.contains("values of 8"), "{message}");
    let harmless = Tiny::new()
        .text("general.license", "mit")
        .key("general.file_type", Value::U32(0))
        .text("quantize.imatrix.file", "x")
        .key("llama.vocab_size", Value::U32(259))
        .key("tokenizer.ggml.fim_pre_token_id", Value::U32(1));
    assert!(import_bytes(&harmless.bytes()).1.is_ok());
}

#[test]
fn a_vocabulary_that_does_not_fit_is_refused() {
    let list = |change: fn(&mut Vec<String>)| {
        let mut all = tokens();
        change(&mut all);
        Tiny::new().key("tokenizer.ggml.tokens", Value::Texts(all))
    };
    let merges = |merge: &str| Tiny::new().key("tokenizer.ggml.merges", Value::Texts(vec![merge.to_owned()]));
    for (tiny, said) in [
        (list(|all| all.truncate(258)), "258 tokens"),
        (list(|all| all.push("more".to_owned())), "260 tokens"),
        (list(|all| all[66] = "A".to_owned()), "\"A\" is there twice"),
        (merges("x"), "\"x\""),
        (merges("a b"), "\"a b\""),
        (merges("a "), "\"a \""),
        (Tiny::new().key("tokenizer.ggml.token_type", Value::Ints(vec![1; 7])), "7 types"),
        (Tiny::new().text("tokenizer.ggml.pre", "wholly-new"), "wholly-new"),
        (Tiny::new().text("tokenizer.ggml.model", "t5"), "model t5"),
        (Tiny::new().text("general.architecture", "wholly-new"), "wholly-new; llama, qwen2, qwen3, gemma3, phi3 are"),
        (Tiny::new().without("tokenizer.ggml.merges"), "tokenizer.ggml.merges"),
    ] {
        let message = refused(&tiny);
        assert!(message.contains(said), "{said}: {message}");
    }
}

#[test]
fn ends_are_found_by_id_and_by_name_whatever_their_type() {
    let plain = Tiny::new().key("tokenizer.ggml.token_type", Value::Ints(vec![1; 259]));
    for tiny in [Tiny::new(), plain.clone()] {
        let tokenizer = tokenizer(&tiny);
        assert!(tokenizer.ends(END) && tokenizer.ends(END + 2) && !tokenizer.ends(END + 1));
        assert_eq!(tokenizer.encode("<|im_end|>", Special::InText).unwrap(), [END + 2], "it is matched whole");
        assert!(tokenizer.bytes(END + 2).is_empty(), "and writes nothing");
    }
    let own =
        plain.key("tokenizer.ggml.eot_token_id", Value::U32(65)).key("tokenizer.ggml.eom_token_id", Value::U32(66));
    let tokenizer = tokenizer(&own);
    assert!(tokenizer.ends(65) && tokenizer.ends(66) && !tokenizer.ends(67));
}

#[test]
fn a_prompt_begins_as_the_file_says_or_its_pre_tokenizers_models_do() {
    let ids = |tiny: &Tiny| tokenizer(tiny).encode("ab", Special::Added).unwrap();
    let add = |tiny: Tiny, flag: bool| tiny.key("tokenizer.ggml.add_bos_token", Value::Flag(flag));
    let llama = Tiny::new().text("tokenizer.ggml.pre", "llama-bpe");
    assert_eq!(ids(&Tiny::new()), [97, 98]);
    assert_eq!(ids(&add(Tiny::new(), true)), [END, 97, 98]);
    assert_eq!(ids(&llama), [END, 97, 98]);
    assert_eq!(ids(&add(llama.clone(), false)), [97, 98]);
    assert_eq!(ids(&Tiny::new().key("tokenizer.ggml.add_eos_token", Value::Flag(true))), [97, 98, END]);
    let message = refused(&llama.without("tokenizer.ggml.bos_token_id"));
    assert!(message.contains("bos_token_id"), "{message}");
}

#[test]
fn a_template_is_tried_before_it_is_taken() {
    for (template, said) in [
        ("{% for x in %}", "line 1"),
        ("{{ messages|frobnicate }}", "frobnicate"),
        ("{{ raise_exception('never') }}", "never"),
        ("{# nothing #}", "nothing"),
        ("{{ strftime_now('%Q') }}", "%Q"),
    ] {
        let message = refused(&Tiny::new().template(template));
        assert!(message.contains("template") && message.contains(said), "{said}: {message}");
    }
    let message = refused(&Tiny::new().key("tokenizer.chat_template", Value::U32(1)));
    assert!(message.contains("tokenizer.chat_template"), "{message}");
    for template in [
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
        "{{ '%s-%d' % ('a', 3) }}",
    ] {
        assert!(import_bytes(&Tiny::new().template(template).bytes()).1.is_ok(), "{template}");
    }
}

#[test]
fn calls_that_a_template_does_not_write_are_texts_in_it() {
    let call = json!([{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": [1]}"}}]);
    let messages = json!([{"role": "user", "content": "x"}, {"role": "assistant", "content": "", "tool_calls": call}]);
    let asked = super::asked(&json!({"messages": messages}));
    let written = |tiny: &Tiny| {
        let prompt = tokenizer(tiny).prompt(&asked).unwrap();
        String::from_utf8(prompt.into_iter().map(|token| u8::try_from(token).unwrap()).collect()).unwrap()
    };
    assert_eq!(written(&Tiny::new()), "x\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1]}}\n</tool_call>");
    let reads = "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.arguments.a[0] }}{% endfor %}{% endfor %}";
    assert_eq!(written(&Tiny::new().template(reads)), "x1");
}

#[test]
fn a_cut_file_says_what_is_cut() {
    let bytes = Tiny::new().bytes();
    let message = import_bytes(&bytes[..bytes.len() - 4096]).1.unwrap_err();
    assert!(message.contains("tensor") && message.contains("cut"), "{message}");
    let mut turned = bytes;
    turned[4..8].reverse();
    assert!(import_bytes(&turned).1.unwrap_err().contains("big-endian"));
    assert!(import::parameters(Path::new("nowhere.gguf")).is_err());
}

#[test]
fn a_split_model_is_joined_whichever_part_is_named() {
    let root = tempfile::tempdir().unwrap();
    let place = |name: &str| root.path().join(name);
    let parts = Tiny::new().split(3);
    for (number, part) in parts.iter().enumerate() {
        std::fs::write(place(&format!("m-{:05}-of-00003.gguf", number + 1)), part.bytes()).unwrap();
    }
    std::fs::write(place("whole.gguf"), Tiny::new().bytes()).unwrap();
    let folder = |file: &str| {
        let out = place(&format!("{file}.out"));
        import::import(&place(file), &out).map(|_| out).map_err(|error| error.to_string())
    };
    let weights = |folder: PathBuf| std::fs::read(folder.join(import::DATA_FILE)).unwrap();
    let whole = weights(folder("whole.gguf").unwrap());
    for named in ["m-00001-of-00003.gguf", "m-00003-of-00003.gguf"] {
        assert_eq!(weights(folder(named).unwrap()), whole, "{named}");
    }
    assert_eq!(
        import::parameters(&place("m-00002-of-00003.gguf")).unwrap(),
        import::parameters(&place("whole.gguf")).unwrap()
    );
    let u16s = |tiny: &Tiny, key: &str, value: u32| tiny.clone().key(key, Value::U32(value));
    for (change, said) in [
        (None, "m-00002-of-00003.gguf"),
        (Some(u16s(&parts[1], "split.no", 2)), "part 3 of 3"),
        (Some(u16s(&parts[1], "split.count", 4)), "part 2 of 4"),
        (Some(Tiny::new()), "part 1 of 1"),
        (Some(u16s(&parts[1], "llama.context_length", 64)), "llama.context_length"),
        (Some(u16s(&parts[1], "wholly.new", 1)), "wholly.new"),
        (
            Some(parts[1].clone().tensor("output_norm.weight", &[32], vec![1.0; 32])),
            "two tensors named output_norm.weight",
        ),
        (Some(parts[1].clone().tensor("more.weight", &[32], vec![1.0; 32])), "split.tensors.count"),
    ] {
        let path = place("m-00002-of-00003.gguf");
        std::fs::remove_file(&path).unwrap();
        if let Some(change) = &change {
            std::fs::write(&path, change.bytes()).unwrap();
        }
        std::fs::remove_dir_all(place("m-00001-of-00003.gguf.out")).ok();
        let message = folder("m-00001-of-00003.gguf").unwrap_err();
        assert!(message.contains(said), "{said}: {message}");
        std::fs::write(&path, parts[1].bytes()).unwrap();
    }
    for (name, said) in [("part.gguf", "part.gguf is part 1 of 3"), ("m-00002-of-00003.gguf", "part 1 of 3")] {
        std::fs::write(place(name), parts[0].bytes()).unwrap();
        assert!(folder(name).unwrap_err().contains(said), "{name}");
    }
    let many = parts[0].clone().key("split.count", Value::U32(70_000));
    std::fs::write(place("part.gguf"), many.bytes()).unwrap();
    assert!(folder("part.gguf").unwrap_err().contains("70000 parts"));
}
