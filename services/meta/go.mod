module hangar/services/meta

go 1.26.0

require hangar/shared v0.0.0

require github.com/google/go-cmp v0.7.0 // indirect

replace hangar/shared => ../../shared
