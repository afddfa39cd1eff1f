module github.com/seed-64ad3862/gatehouse

go 1.25.0

require golang.org/x/text v0.41.0 // indirect
