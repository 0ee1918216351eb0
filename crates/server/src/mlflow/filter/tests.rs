//! Filters as people write them, and as nobody should.

use super::*;

const WORDS: Vocabulary = Vocabulary {
    entities: &[
        ("metric", Entity::Metric),
        ("metrics", Entity::Metric),
        ("params", Entity::Param),
        ("tags", Entity::Tag),
        ("attributes", Entity::Attribute),
        ("dataset", Entity::Dataset),
    ],
    attributes: &[
        ("run_id", "run_id", Kind::Text),
        ("start_time", "start_time", Kind::Number),
        ("Run name", "run_name", Kind::Text),
        ("status", "status", Kind::Text),
    ],
};

struct One(Entity, &'static str, Vec<Found>);

impl Subject for One {
    fn find(&self, entity: Entity, key: &str) -> Vec<Found> {
        if entity == self.0 && key == self.1 { self.2.clone() } else { Vec::new() }
    }
}

fn number(key: &'static str, value: f64) -> One {
    One(Entity::Metric, key, vec![Found::Number(value)])
}

fn text(entity: Entity, key: &'static str, value: &str) -> One {
    One(entity, key, vec![Found::Text(value.to_owned())])
}

fn check(filter: &str, subject: &One, expect: bool) {
    let clauses = parse(filter, &WORDS).unwrap_or_else(|error| panic!("{filter}: {error:?}"));
    assert_eq!(clauses.iter().all(|clause| clause.holds(subject)), expect, "{filter}");
}

#[test]
fn numbers_are_compared_as_numbers() {
    let acc = number("acc", 0.9);
    for (filter, expect) in [
        ("metrics.acc > 0.5", true),
        ("metric.acc>=0.9 and metrics.acc <= 9e-1", true),
        ("metrics.acc != 0.9", false),
        ("metrics.`acc` = .9e0", true),
        ("metrics.\"acc\" < -1", false),
        ("metrics.loss != 3", false),
    ] {
        if filter.contains(" .9") {
            assert!(parse(filter, &WORDS).is_err());
            continue;
        }
        check(filter, &acc, expect);
    }
    check("metrics.acc > 1", &number("acc", f64::INFINITY), true);
    check("metrics.acc > 1", &number("acc", f64::NAN), false);
    check("metrics.a.b/c = 1", &number("a.b/c", 1.0), true);
    check("metrics.`a b` = 1", &number("a b", 1.0), true);
}

#[test]
fn texts_know_patterns_lists_and_absence() {
    let tag = text(Entity::Tag, "mlflow.source.name", "Train_1.py");
    for (filter, expect) in [
        ("tags.mlflow.source.name = 'Train_1.py'", true),
        ("tags.`mlflow.source.name` LIKE 'Train%'", true),
        ("tags.mlflow.source.name LIKE 'train%'", false),
        ("tags.mlflow.source.name ILIKE 'train__.PY'", true),
        ("tags.mlflow.source.name LIKE '%_1%py'", true),
        ("tags.mlflow.source.name != \"other\"", true),
        ("tags.none != 'x'", false),
        ("tags.none IS NULL", true),
        ("tags.mlflow.source.name is not null", true),
    ] {
        check(filter, &tag, expect);
    }
    let run = text(Entity::Attribute, "run_id", "a");
    check("run_id IN ('a', 'b')", &run, true);
    check("attributes.run_id NOT IN ('a',)", &run, false);
    check("attributes.`Run name` = 'it''s'", &text(Entity::Attribute, "run_name", "it's"), true);
    let sets = ["train", "test"].map(|name| Found::Text(name.to_owned())).to_vec();
    check("dataset.name = 'test'", &One(Entity::Dataset, "name", sets), true);
    check("", &run, true);
    check("   ", &run, true);
}

#[test]
fn what_is_wrong_is_said() {
    for (filter, says) in [
        ("metrics.acc", "ends within"),
        ("metrics.acc >", "ends within"),
        ("metrics.acc > 'x'", "Expected numeric value type for metric. Found 'x'"),
        ("params.a = 3", "Expected a quoted string value for a"),
        ("params.a = b", "Got value b"),
        ("params.a > 'b'", "Invalid comparator '>'"),
        ("wrong.a = 'b'", "Invalid entity type 'wrong'"),
        ("attributes.wrong = 'b'", "Invalid attribute key 'wrong'"),
        ("wrong = 'b'", "Invalid attribute key 'wrong'"),
        ("params.a = 'b' OR params.c = 'd'", "Invalid clause(s) in filter string: 'OR'"),
        ("params.a = 'b' params.c = 'd'", "Invalid clause(s)"),
        ("params.a = 'b' AND", "ends within"),
        ("params.a = 'b", "not closed"),
        ("run_id IN ()", "ill-formed list"),
        ("run_id IN ('a'", "ill-formed list"),
        ("run_id IN (1)", "ill-formed list"),
        ("metrics.acc == 1", "Invalid comparator"),
        ("metrics.acc > 1e999", "no number"),
        ("metrics.acc IS NULL", "Invalid comparator 'IS NULL'"),
        ("dataset.size = 'x'", "Invalid dataset key 'size'"),
        ("; DROP TABLE runs", "';'"),
    ] {
        let error = parse(filter, &WORDS).expect_err(filter);
        assert!(error.said().1.contains(says), "{filter}: {error:?}");
    }
}

#[test]
fn hostile_texts_end_and_never_panic() {
    let pieces = [
        "metrics.",
        "`",
        "\"",
        "'",
        "(",
        ")",
        ",",
        "AND ",
        "a",
        "é",
        "\u{1F600}",
        " ",
        "=",
        "!",
        "NOT IN",
        "1e",
        "-",
        ".",
    ];
    // A small generator of its own: every text is the same on every machine.
    let mut state = 7_u64;
    for _ in 0..20_000 {
        let mut filter = String::new();
        for _ in 0..12 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            filter.push_str(pieces[(state >> 33) as usize % pieces.len()]);
        }
        let _ = parse(&filter, &WORDS);
        let _ = parse_order(&filter, &WORDS);
    }
    assert!(parse(&"(".repeat(FILTER_LEN_MAX), &WORDS).is_err());
    assert!(parse(&" ".repeat(FILTER_LEN_MAX + 1), &WORDS).is_err());
    let many = vec!["metrics.a > 1"; CLAUSES_MAX + 1].join(" AND ");
    assert!(parse(&many, &WORDS).unwrap_err().said().1.contains("more than"));
    // The pattern that makes a backtracking matcher slow.
    assert!(!wildcard::matches(&"%a".repeat(200), &"a".repeat(199)));
    assert!(!wildcard::matches(&format!("{}b", "%a".repeat(500)), &"a".repeat(5000)));
}

#[test]
fn orders_put_what_is_missing_last() {
    let order = |text: &str| parse_order(text, &WORDS);
    let expect = OrderKey { entity: Entity::Metric, key: "acc".to_owned(), ascending: false };
    assert_eq!(order("metrics.acc DESC").unwrap(), expect);
    assert_eq!(order("metrics.`acc` desc").unwrap(), expect);
    assert!(order("attributes.start_time").unwrap().ascending);
    assert_eq!(order("`Run name` ASC").unwrap().key, "run_name");
    for wrong in ["metrics.acc sideways", "metrics.acc asc desc", "wrong.a", "", "acc"] {
        assert!(order(wrong).is_err(), "{wrong}");
    }
    let values = [Some(1.0), None, Some(f64::NAN), Some(3.0), Some(2.0)];
    let subjects = || -> Vec<One> {
        values
            .iter()
            .map(|value| match value {
                Some(value) => number("acc", *value),
                None => One(Entity::Param, "x", Vec::new()),
            })
            .collect()
    };
    let sorted = |text: &str| {
        let mut all = subjects();
        sort(&mut all, &[order(text).unwrap()], |one| one);
        let found = |one: &One| match one.2.first() {
            Some(Found::Number(number)) => format!("{number}"),
            _ => "none".to_owned(),
        };
        all.iter().map(found).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(sorted("metrics.acc ASC"), "1 2 3 NaN none");
    assert_eq!(sorted("metrics.acc DESC"), "3 2 1 NaN none");
}
