//! JSON schemas of what is serialized.

use schemars::{
    Schema, SchemaGenerator,
    generate::SchemaSettings,
    transform::{RecursiveTransform, Transform},
};
use serde_json::{Value, json};

/// Where the document has them.
const PLACE: &str = "/components/schemas";

/// Whether an object has other fields than those named.
const OTHERS: &str = "additionalProperties";

/// Writes schemas as answers are, not as they would be read: what can be left out is not
/// required, and nothing is null.
pub(super) fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12()
        .for_serialize()
        .with(|settings| {
            settings.definitions_path = PLACE.into();
            settings.meta_schema = None;
        })
        .with_transform(RecursiveTransform(exact))
        .into_generator()
}

/// The schemas that were referred to.
pub(super) fn definitions(mut generator: SchemaGenerator) -> Value {
    Value::Object(generator.take_definitions(true))
}

/// A schema that stands outside of the definitions.
pub(super) fn finished(mut schema: Schema) -> Value {
    RecursiveTransform(exact).transform(&mut schema);
    schema.into()
}

/// Says what follows from how the answers are written and the types do not tell.
fn exact(schema: &mut Schema) {
    // Fields without a value are left out.
    without_null(schema);
    if schema.get("type") == Some(&json!("object")) && schema.get(OTHERS).is_none() {
        schema.insert(OTHERS.to_owned(), json!(false));
    }
    if schema.get("format") == Some(&json!("uint32")) {
        schema.insert("maximum".to_owned(), json!(u32::MAX));
    }
}

fn without_null(schema: &mut Schema) {
    let null = json!("null");
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| *name != null);
        if let [only] = &types[..] {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    let Some(Value::Array(mut any)) = schema.remove("anyOf") else {
        return;
    };
    any.retain(|one| one.get("type") != Some(&null));
    match (&any[..], schema.as_object_mut()) {
        ([Value::Object(only)], Some(object)) => object.extend(only.clone()),
        _ => _ = schema.insert("anyOf".to_owned(), any.into()),
    }
}
