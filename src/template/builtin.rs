//! The templates built into the program.

macro_rules! built_in {
    ($($path:literal),* $(,)?) => {
        /// The path below the template directory, and the text.
        pub(super) const BUILT_IN: &[(&str, &str)] =
            &[$(($path, include_str!(concat!("../../templates/", $path)))),*];
    };
}

built_in![
    "common/database.env.hbs",
    "common/database.properties.hbs",
    "common/database.yml.hbs",
    "common/haproxy.cfg.hbs",
    "common/hosts.hbs",
    "common/nagios.cfg.hbs",
    "common/nginx-upstream.conf.hbs",
    "common/pgbouncer.ini.hbs",
    "common/prometheus-sd.json.hbs",
];
