module hangar/shared

go 1.26.0
