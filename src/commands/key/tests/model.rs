//! Any order of commands, against a model of what a key may become.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::Desk;

#[derive(Clone, Copy, Debug)]
enum Step {
    New,
    Revoke,
    Disable,
    Compromised,
    Enable,
    Renew,
    Rotate,
}

impl Step {
    const fn word(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Revoke => "revoke",
            Self::Disable => "disable",
            Self::Compromised => "compromised",
            Self::Enable => "enable",
            Self::Renew => "renew",
            Self::Rotate => "rotate",
        }
    }

    /// The state after it, or `None` where it is refused.
    fn apply(self, state: Option<&'static str>) -> Option<&'static str> {
        match (self, state) {
            (Self::New, None) => Some("active"),
            (Self::New, Some(_)) | (_, None) => None,
            (Self::Revoke, Some("compromised")) => Some("compromised"),
            (Self::Revoke, Some(_)) => Some("revoked"),
            (Self::Compromised, Some(_)) => Some("compromised"),
            (_, Some("revoked" | "compromised")) => None,
            (Self::Disable, Some(_)) => Some("disabled"),
            (Self::Enable | Self::Renew, Some(_)) => Some("active"),
            (Self::Rotate, state) => state,
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::New),
        Just(Step::Revoke),
        Just(Step::Disable),
        Just(Step::Disable),
        Just(Step::Compromised),
        Just(Step::Enable),
        Just(Step::Renew),
        Just(Step::Rotate),
        Just(Step::Rotate),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_order_of_commands_ends_where_the_model_does(
        steps in proptest::collection::vec((step(), 0_usize..3), 1..24),
    ) {
        let comments = "# first\n\n# of all\n";
        let desk = Desk::with_keys(comments);
        let mut model = BTreeMap::<&str, &'static str>::new();
        let mut secrets = BTreeMap::<&str, String>::new();
        for (step, id) in steps {
            let id = ["a", "b.c", "d-1"][id];
            let answer = desk.run(&[step.word(), id]);
            let after = step.apply(model.get(id).copied());
            prop_assert_eq!(answer.code, u8::from(after.is_none()), "{:?} {}: {}", step, id, answer.err);
            if let Some(state) = after {
                model.insert(id, state);
                if matches!(step, Step::New | Step::Rotate) {
                    secrets.insert(id, answer.out.trim_end().to_owned());
                }
            }
        }
        prop_assert!(desk.keys().starts_with(comments));
        for (id, state) in &model {
            let answer = desk.identify(&secrets[id]);
            prop_assert_eq!(answer.out, format!("{id} {state}\n"));
        }
    }
}
