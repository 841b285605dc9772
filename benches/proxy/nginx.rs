//! nginx as packaged, with one worker and connections to the origin that are kept.

use crate::proxy::{Proxy, Running, free_address};
use nix::sys::signal::Signal;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

pub(crate) struct Nginx;

impl Proxy for Nginx {
    fn name(&self) -> String {
        "nginx".to_owned()
    }

    fn start(&self, room: &Path, origin: SocketAddr) -> Running {
        let address = free_address();
        let config = room.join("nginx.conf");
        fs::write(&config, configuration(address, origin)).unwrap();
        let child = Command::new("nginx")
            .arg("-p")
            .arg(room)
            .arg("-c")
            .arg(&config)
            .args(["-e", "stderr"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx starts");
        Running::new(child, address, Signal::SIGTERM, None)
    }
}

/// It says of the client what we say of it. Connections are not ended for their number of requests, as ours are not.
fn configuration(address: SocketAddr, origin: SocketAddr) -> String {
    format!(
        r#"
daemon off;
pid nginx.pid;
worker_processes 1;
worker_rlimit_nofile 20000;
error_log stderr crit;
events {{ worker_connections 16000; }}
http {{
    access_log off;
    server_tokens off;
    keepalive_timeout 80s;
    keepalive_requests 1000000000;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    proxy_max_temp_file_size 0;
    upstream origin {{
        server {origin};
        keepalive 1024;
        keepalive_requests 1000000000;
        keepalive_timeout 4s;
    }}
    server {{
        listen {address} backlog=4096;
        location / {{
            proxy_pass http://origin;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Port $server_port;
        }}
    }}
}}
"#
    )
}
