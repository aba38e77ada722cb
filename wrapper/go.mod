module boincdock.org/wrapper

go 1.22

require (
	github.com/BurntSushi/toml v1.4.0
	github.com/klauspost/compress v1.18.0
)

require github.com/cespare/xxhash v1.1.0 // indirect

// Debian's golang-github-burntsushi-toml-dev and golang-github-klauspost-compress-dev (with -cespare-xxhash-dev): nothing is downloaded (see build.sh).
replace github.com/BurntSushi/toml => /usr/share/gocode/src/github.com/BurntSushi/toml

replace github.com/klauspost/compress => /usr/share/gocode/src/github.com/klauspost/compress

replace github.com/cespare/xxhash => /usr/share/gocode/src/github.com/cespare/xxhash
