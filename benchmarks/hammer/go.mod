module ringtime/hammer

go 1.21
