//! Fields that are not known, in every object of every route: refused and named, so that a misspelt one is noticed. Numbers in their spellings.

use reqwest::Client as Http;
use serde_json::{Value, json};

use crate::support::{
    document::{DOCUMENT, Operation, operations},
    world::{ADMIN_KEY, Answer, Tenant, World, answer},
};

/// Routes whose bodies others' programs make, with fields that we do not know.
const IGNORE_UNKNOWN_FIELDS: [&str; 2] = ["publish", "ingest"];

/// An object that a body may have: where it stands, and its fields.
struct Place {
    steps: Vec<Step>,
    /// Each field's name and schema.
    fields: Vec<(String, Value)>,
}

#[derive(Clone)]
enum Step {
    Item,
    Field(String),
}

impl Place {
    /// The body that has this object in its place, and nothing else.
    fn body(&self, object: Value) -> Value {
        self.steps.iter().rev().fold(object, |inner, step| match step {
            Step::Item => json!([inner]),
            Step::Field(name) => json!({name: inner}),
        })
    }

    /// The path by which errors name one of its fields.
    fn path(&self, field: &str) -> String {
        let field = Step::Field(field.to_owned());
        self.steps.iter().chain([&field]).fold(String::new(), |path, step| match step {
            Step::Item => path + "[0]",
            Step::Field(name) if path.is_empty() => name.clone(),
            Step::Field(name) => path + "." + name,
        })
    }
}

/// The schema itself: what a reference leads to, and of several the one that is there.
fn resolved(schema: &Value) -> &Value {
    let parts = ["allOf", "oneOf", "anyOf"].iter().find_map(|several| schema[several].get(0));
    match (schema["$ref"].as_str(), parts) {
        (Some(reference), _) => resolved(DOCUMENT.pointer(reference.strip_prefix('#').unwrap()).unwrap()),
        (None, Some(part)) => resolved(part),
        (None, None) => schema,
    }
}

fn add_places(schema: &Value, steps: &[Step], places: &mut Vec<Place>) {
    let schema = resolved(schema);
    if let Some(items) = schema.get("items") {
        add_places(items, &[steps, &[Step::Item]].concat(), places);
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    let fields = properties.iter().map(|(name, schema)| (name.clone(), resolved(schema).clone())).collect();
    places.push(Place { steps: steps.to_vec(), fields });
    for (name, schema) in properties {
        add_places(schema, &[steps, &[Step::Field(name.clone())]].concat(), places);
    }
}

/// Operations with a body whose fields all are known, each with the objects of that body.
fn operations_with_bodies() -> Vec<(Operation, Vec<Place>)> {
    let all = operations().into_iter().filter(|operation| !IGNORE_UNKNOWN_FIELDS.contains(&operation.id()));
    let each = all.map(|operation| {
        let mut places = Vec::new();
        add_places(&operation.value["requestBody"]["content"]["application/json"]["schema"], &[], &mut places);
        (operation, places)
    });
    each.filter(|(_, places)| !places.is_empty()).collect()
}

async fn send(world: &World<1>, tenant: &Tenant, operation: &Operation, body: &Value) -> Answer {
    let path = operation.path.replace("{tenant_id}", &tenant.id).replace(['{', '}'], "");
    let request = Http::new()
        .request(operation.method.clone(), format!("{}{path}", world.replicas[0].url))
        .header("x-api-key", &tenant.key)
        .header("x-admin-key", ADMIN_KEY)
        .json(body);
    answer(request.send().await.unwrap()).await
}

fn message(answer: &Answer) -> &str {
    answer.fails(400, "VALIDATION_ERROR")["details"][0]["message"].as_str().unwrap()
}

#[tokio::test]
async fn an_unknown_field_is_refused_and_named_in_every_object_of_every_route() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let (mut routes, mut objects) = (0, 0);
    for (operation, places) in operations_with_bodies() {
        routes += 1;
        for place in places {
            objects += 1;
            let unknown = send(&world, &tenant, &operation, &place.body(json!({"notAField": 1}))).await;
            assert_eq!(unknown.paths(), [place.path("notAField")], "{}", operation.id());
            for (field, _) in &place.fields {
                let respelt = field[..1].to_uppercase() + &field[1..];
                let answer = send(&world, &tenant, &operation, &place.body(json!({&respelt: null}))).await;
                assert_eq!(answer.paths(), [place.path(&respelt)], "{}", operation.id());
                assert_eq!(message(&answer), format!("is no field here; did you mean {field}?"), "{}", operation.id());
            }
        }
    }
    assert!(routes >= 14 && objects > routes, "{routes} routes with a body, {objects} objects");

    // A lock whose time to live was misspelt must not last for ever.
    let at = world.at(&tenant);
    let misspelt = at.post("/Reservation/reserve", json!([{"requester": "w", "resource": "r", "ttl": 60}])).await;
    let detail = &misspelt.fails(400, "VALIDATION_ERROR")["details"][0];
    assert_eq!(
        (&detail["path"], &detail["message"]),
        (&json!("[0].ttl"), &json!("is no field here; did you mean ttlSeconds?"))
    );
    let message = misspelt.body["error"]["message"].as_str().unwrap();
    assert!(message.ends_with("did you mean ttlSeconds?"), "a question has no full stop: {message}");
    assert!(at.listed().await.is_empty());
    let pushed = at.post("/events", json!({"type": "a", "data": 1, "colour": "red"})).await;
    assert_eq!(pushed.status, 202, "{pushed:?}");
}

#[tokio::test]
async fn a_whole_number_has_every_spelling_of_json_and_a_text_is_none() {
    let world = World::<1>::start().await;
    let tenant = world.tenant_of("Enterprise").await;
    let mut seen = 0;
    for (operation, places) in operations_with_bodies() {
        for place in places {
            for (field, _) in place.fields.iter().filter(|(_, schema)| schema["type"] == "integer") {
                seen += 1;
                let path = place.path(field);
                let text = send(&world, &tenant, &operation, &place.body(json!({field: "60"}))).await;
                assert_eq!((text.paths(), message(&text)), (vec![path.as_str()], "must be a whole number, not \"60\""));
                // What else is missing is told as such, and nothing of the number.
                let answer = send(&world, &tenant, &operation, &place.body(json!({field: 60.0}))).await;
                let details = answer.body["error"]["details"].as_array().into_iter().flatten();
                let of_field: Vec<_> = details.filter(|fault| fault["path"] == path.as_str()).collect();
                assert!(of_field.iter().all(|fault| !fault.to_string().contains("whole number")), "{answer:?}");
            }
        }
    }
    assert!(seen >= 12, "{seen} whole numbers");
}
