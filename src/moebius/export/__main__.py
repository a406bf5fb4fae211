from moebius.export.bundle import main

main()
