module seimigrate.test/programs

go 1.26.0
