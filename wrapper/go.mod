module boincdock.org/wrapper

go 1.22

require github.com/BurntSushi/toml v1.4.0

// Debian's golang-github-burntsushi-toml-dev: nothing is downloaded (see build.sh).
replace github.com/BurntSushi/toml => /usr/share/gocode/src/github.com/BurntSushi/toml
