//! Several backends of one kind.

use super::{faults, parse};

#[test]
fn several_of_one_kind_are_told_apart_by_name() {
    let config = parse(
        "[[metrics]]
        backend = 'log'
        [[metrics]]
        backend = 'log'
        name = 'second'
        [[metrics]]
        backend = 'pushgateway'
        [[metrics]]
        backend = 'pushgateway'
        name = 'store-2.eu'
        job = 'other'",
    );
    let names: Vec<_> = config.metrics.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["log", "second", "pushgateway", "store-2.eu"]);
    let told = faults("[[metrics]]\nbackend = 'log'\nname = 'http'\n");
    let wanted =
        "line 3: `name` is \"http\", which is the name of `[http]` there: give another name";
    assert_eq!(told, [wanted]);
    let table = |number| format!("[[metrics]]\nbackend = 'log'\nname = 'n{number}'");
    let many: Vec<String> = (0..33).map(table).collect();
    let wanted = "line 98: `backend` is that of one table more than 32, which are the most";
    assert_eq!(faults(&many.join("\n")), [wanted]);
}

/// What tells no backend from another, and what is said about it.
const MISTAKES: &[(&str, &str)] = &[
    (
        "[[metrics]]\nbackend = 'log'\n[[metrics]]\nbackend = 'log'",
        "line 4: `backend` is \"log\" a second time: give this table a `name`",
    ),
    (
        "[[metrics]]\nbackend = 'log'\nname = 'x'\n[[metrics]]\nbackend = 'zeromq'\nname = 'x'",
        "line 6: `name` is \"x\" a second time: give another name",
    ),
    (
        "[[metrics]]\nbackend = 'log'\n[[metrics]]\nname = 'log'",
        "line 4: `name` is \"log\" a second time: give another name",
    ),
    (
        "[[metrics]]\nname = '../x'",
        "line 2: `name` must be a name of 1 to 64 letters, digits, `.`, `_` and `-`, not \"../x\"",
    ),
    (
        "[[metrics]]\nbackend = 'pushgateway'\n[[metrics]]\nbackend = 'pushgateway'\nname = 'two'",
        "line 3: `job` is that of another table with this `gateway`: each would replace what the other pushes; give \
         another `job`",
    ),
];

#[test]
fn what_tells_none_apart_is_told_with_its_line() {
    for (file, wanted) in MISTAKES {
        assert_eq!(faults(file), [*wanted], "{file}");
    }
}
