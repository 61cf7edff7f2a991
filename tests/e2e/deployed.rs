//! The files for deployment, read as Farebox would read them: the settings that they give are known and valid, ports and probes
//! are those of the program, and times fit one another. No container is started.

use std::collections::BTreeMap;

use farebox::config::{Overrides, Settings};
use serde_json::Value;

use crate::support::server::{Options, Server};

const COMPOSE: &str = include_str!("../../config/compose.yaml");
const NGINX: &str = include_str!("../../config/nginx.conf");
const KUBERNETES: &str = include_str!("../../config/kubernetes/farebox.yaml");
const INGRESS: &str = include_str!("../../config/kubernetes/ingress.yaml");
const DOCKERFILE: &str = include_str!("../../Dockerfile");

/// The documents of a YAML file.
fn documents(text: &str) -> Vec<Value> {
    text.split("\n---\n").map(|document| serde_saphyr::from_str(document).unwrap()).collect()
}

/// What stands for the variables and secrets of whoever deploys it.
fn given(name: &str) -> &'static str {
    if name.contains("URL") || name.contains("url") {
        "postgres://farebox@db/farebox"
    } else {
        "0123456789abcdef0123456789abcdef"
    }
}

/// A value with its `${NAME...}` filled in.
fn filled(value: &str) -> String {
    let Some((before, rest)) = value.split_once("${") else { return value.to_owned() };
    let (name, after) = rest.split_once('}').unwrap();
    filled(&format!("{before}{}{after}", given(name)))
}

fn settings(variables: BTreeMap<String, String>) -> Settings {
    // The example file is not in an image: the defaults are.
    let nowhere = std::env::temp_dir().join(format!("farebox-{}.toml", uuid::Uuid::new_v4().simple()));
    std::fs::write(&nowhere, "").unwrap();
    let overrides = Overrides { config: Some(nowhere.clone()), ..Overrides::default() };
    let loaded = Settings::load_from(&overrides, &variables.into_iter().collect::<Vec<_>>());
    std::fs::remove_file(nowhere).unwrap();
    loaded.unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Seconds as Compose writes them.
fn seconds(value: &Value) -> u64 {
    value.as_str().unwrap().strip_suffix('s').unwrap().parse().unwrap()
}

/// Whoever ends a node waits longer than it may take, and it is said for a while that it ends.
fn assert_grace(settings: &Settings, grace: u64) {
    let limits = &settings.limits;
    assert!(grace >= limits.stop_seconds + 10, "{grace} s for {} s", limits.stop_seconds);
    assert!(limits.notice_seconds >= 2 && limits.notice_seconds * 4 <= limits.stop_seconds);
}

#[test]
fn nodes_of_the_compose_file_are_what_farebox_and_nginx_expect() {
    let compose = documents(COMPOSE).remove(0);
    let services = compose["services"].as_object().unwrap();
    let nodes: Vec<_> = services.iter().filter(|(name, _)| name.starts_with("farebox-")).collect();
    assert_eq!(nodes.len(), 3);
    for (name, node) in nodes {
        let variables = node["environment"].as_object().unwrap();
        // One without a value is passed on where it is set.
        let variables = variables.iter().filter(|(_, value)| !value.is_null());
        let variables = variables.map(|(name, value)| (name.clone(), filled(&text(value)))).collect();
        let settings = settings(variables);
        let listen = settings.cluster.listen.unwrap();
        let own = &node["networks"]["farebox"]["ipv4_address"];
        assert_eq!(settings.cluster.address, Some(format!("{}:{}", own.as_str().unwrap(), listen.port())), "{name}");
        assert!(settings.cluster.secret.is_some() && settings.admin_token.is_some());
        assert!(NGINX.contains(&format!("server {name}:{} ", settings.listen.port())), "{name} is not behind nginx");
        let key = settings.signing_key.clone().unwrap();
        let mounted = node["volumes"].as_array().unwrap().iter().map(text).collect::<Vec<_>>();
        assert!(mounted.contains(&format!("keys:{}", key.parent().unwrap().display())), "{mounted:?}");
        assert!(mounted.iter().any(|volume| volume.ends_with(":/var/lib/farebox")));
        assert_grace(&settings, seconds(&node["stop_grace_period"]));
        assert_eq!(node["depends_on"]["keys"]["condition"], "service_completed_successfully");
    }
    assert_eq!(NGINX.matches("server farebox-").count(), 3);
    let nginx = &services["nginx"];
    assert!(text(&nginx["volumes"][0]).starts_with("./nginx.conf:"));
    assert_eq!(nginx["depends_on"].as_object().unwrap().len(), 3);
    let volumes = compose["volumes"].as_object().unwrap();
    for service in services.values() {
        for volume in
            service["volumes"].as_array().into_iter().flatten().map(text).filter(|volume| !volume.starts_with('.'))
        {
            assert!(volumes.contains_key(volume.split(':').next().unwrap()), "{volume}");
        }
    }
}

#[test]
fn pods_of_the_manifests_are_what_farebox_expects() {
    let documents = documents(KUBERNETES);
    let of = |kind: &str, name: &str| {
        documents.iter().find(|document| document["kind"] == kind && document["metadata"]["name"] == name).unwrap()
    };
    let set = &of("StatefulSet", "farebox")["spec"];
    let pod = &set["template"]["spec"];
    let container = &pod["containers"][0];
    let mut variables = BTreeMap::new();
    for (name, value) in of("ConfigMap", "farebox")["data"].as_object().unwrap() {
        variables.insert(name.clone(), text(value));
    }
    for variable in container["env"].as_array().unwrap() {
        let (name, value) = (text(&variable["name"]), &variable["value"]);
        if name.starts_with("FAREBOX_") && name != "FAREBOX_REDIS__URL" {
            let value =
                if value.is_null() { given(&name).to_owned() } else { text(value).replace("$(POD_IP)", "10.1.2.3") };
            variables.insert(name, value);
        }
    }
    let settings = settings(variables);
    let ports: BTreeMap<String, u64> = container["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| (text(&port["name"]), port["containerPort"].as_u64().unwrap()))
        .collect();
    let listen = settings.cluster.listen.unwrap();
    assert_eq!(settings.cluster.address, Some(format!("10.1.2.3:{}", listen.port())));
    assert_eq!((ports["http"], ports["link"]), (settings.listen.port().into(), listen.port().into()));
    let farebox::config::MetricsAt::Address(metrics) = settings.http.metrics else { panic!("metrics need a token") };
    assert_eq!(ports["metrics"], u64::from(metrics.port()));
    assert_grace(&settings, pod["terminationGracePeriodSeconds"].as_u64().unwrap());
    // It is not ready in the eyes of the cluster before it lets nobody new in.
    let ready = &container["readinessProbe"];
    let noticed = ready["periodSeconds"].as_u64().unwrap() * ready["failureThreshold"].as_u64().unwrap();
    assert!(noticed < settings.limits.notice_seconds);
    assert_eq!(pod["enableServiceLinks"], false, "a variable like FAREBOX_PORT is no setting");
    let link = &of("Service", "farebox-link")["spec"];
    assert_eq!((&link["clusterIP"], &link["publishNotReadyAddresses"]), (&"None".into(), &true.into()));
    assert_eq!(set["serviceName"], "farebox-link");
    assert_eq!(of("Service", "farebox")["spec"]["sessionAffinity"], "None");
    assert_eq!(of("PodDisruptionBudget", "farebox")["spec"]["maxUnavailable"], 1);
    for object in &documents {
        let labels = [&object["spec"]["selector"]["matchLabels"], &object["spec"]["podSelector"]["matchLabels"]];
        assert!(labels.into_iter().all(|labels| labels.is_null() || *labels == set["template"]["metadata"]["labels"]));
    }
    let ingress = &self::documents(INGRESS)[0]["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"];
    assert_eq!((&ingress["name"], &ingress["port"]["name"]), (&"farebox".into(), &"http".into()));
}

#[tokio::test]
async fn probes_ask_what_there_is() {
    let server = Server::start(Options::default()).await;
    let documents = documents(KUBERNETES);
    let set = documents.iter().find(|document| document["kind"] == "StatefulSet").unwrap();
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let asked = &container[probe]["httpGet"];
        assert_eq!(asked["port"], "http");
        assert_eq!(server.get(asked["path"].as_str().unwrap()).await.status, 200, "{probe}");
    }
    let probe = DOCKERFILE.split("GET ").nth(1).unwrap().split(' ').next().unwrap();
    assert_eq!(server.get(probe).await.status, 200);
    let compose = self::documents(COMPOSE).remove(0);
    let probe = text(&compose["services"]["nginx"]["healthcheck"]["test"][5]);
    assert_eq!(server.get(probe.strip_prefix("http://127.0.0.1").unwrap()).await.status, 200);
}
