module boincdock/bench/loadgen

go 1.19
